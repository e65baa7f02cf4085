"""Joining impressions with the feedback on them, by one rule, from the log of events alone.

An impression waits until the longest wait of its labels has passed; then it leaves with what had arrived by
then, and each label counts what arrived within its own wait. Time is that of the log: the ids of its entries,
or with `Clock.EVENT` the times that requests and feedback carry, for a log at rest that is played back faster
than it happened. So whoever reads the log from an offset comes to the same examples in the same order.

What comes twice counts once: an event of a known id, and an impression of a known request, within the time
that the impression waits and `window_s` after it left. This holds across restarts, as a reader that starts
again reads so much of the log once more; with `Clock.EVENT` as long as entries arrive within `window_s` of
each other that are as near in time.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from enum import Enum

from ranker.errors import EventLogError
from ranker.labels.label import Label
from ranker.stream import feedback
from ranker.stream.event_log import BEGINNING, LAST_NUMBER, Entry, EntryId, Kind
from ranker.stream.feedback import Event, Reason
from ranker.stream.impressions import Impression
from ranker.stream.joined import START, Joined, JoinOffset
from ranker.stream.waiting import LabelRule, Listener, Waiting


class Clock(Enum):
    """By which time an impression waits."""

    ARRIVAL = "arrival"
    """When its entry, and those of feedback, arrived: strictly increasing, given by the server."""
    EVENT = "event"
    """When the request was made and the feedback given, as they say themselves."""


class Joiner:
    """Joins the entries of a log of events, which it takes one after the other.

    Args:
        labels: The labels, each of which is given by events of its name.
        wait_s: How long an impression waits at least; labels without a `label_wait` count for all of it.
        clock: By which time.
        window_s: How long, by the ids of entries, an impression that left is remembered.
        max_rows: Videos that may wait; beyond, the oldest impressions leave early.
        offset: Where to go on; the beginning of the log by default.
        listener: Told of what waits.

    Attributes:
        rows: Videos that wait.
        rejected: Events that were set aside since `take_rejected` was last called.
        left_early: Impressions that left early because too many waited.
        repeated_impressions: Impressions of a request that was known already.
    """

    def __init__(
        self,
        labels: Sequence[Label],
        *,
        wait_s: float,
        clock: Clock = Clock.ARRIVAL,
        window_s: float = 600.0,
        max_rows: int = 2_000_000,
        offset: JoinOffset = START,
        listener: Listener | None = None,
    ) -> None:
        self._rule = LabelRule(labels, wait_s)
        self._clock = clock
        self._listener = listener or Listener()
        self._remembered_ms = self.wait_ms + round(window_s * 1000)
        self._max_rows = max_rows
        self._start = offset
        self._left_before = frozenset(self._start.left)
        self._watermark_ms = self._start.watermark_ms
        self._time_ms = self._start.time_ms
        self._reported = self._start.reported
        self._waiting: list[Waiting] = []  # a heap by time
        self._arrived: OrderedDict[EntryId, None] = OrderedDict()  # those that wait, by arrival
        self._by_request: dict[str, Waiting] = {}
        self._gone: OrderedDict[str, EntryId] = OrderedDict()  # requests that left, and where last sighted
        self._left: list[EntryId] = list(self._start.left)  # younger than the oldest that waits
        self._last = BEGINNING
        self.rows = 0
        self.rejected: list[tuple[Reason, Event]] = []
        self.left_early = 0
        self.repeated_impressions = 0

    @property
    def read_after(self) -> EntryId:
        """The entry after which reading begins, so that all that is needed is read."""
        before_ms = self._start.oldest.ms - self._remembered_ms - 1
        return BEGINNING if before_ms < 0 else EntryId(before_ms, LAST_NUMBER)

    @property
    def wait_ms(self) -> int:
        """How long an impression waits."""
        return self._rule.wait_ms

    @property
    def complete_ms(self) -> int:
        """The time before which no further impression leaves, as far as the entries so far say it."""
        reached_ms = self._last.ms if self._clock is Clock.ARRIVAL else self._watermark_ms
        return max(0, reached_ms - self.wait_ms)

    def take(self, entry: Entry) -> list[Joined]:
        """Take the next entry of the log.

        Returns:
            The impressions that leave before it, and one that comes too late to wait, in the order of time.

        Raises:
            EventLogError: The entry is damaged. Nothing has changed: it is left out if the next one is taken.
        """
        content = content_of(entry)
        due = self.advance(entry.id.ms)
        self._last = entry.id
        if isinstance(content, Impression):
            due += self._take_impression(entry.id, content)
        else:
            due += self._take_feedback(entry.id, content)
        while self.rows > self._max_rows:
            self.left_early += 1
            due.append(self._leave(self._watermark_ms))
        self._reported = max(self._reported, entry.id)
        self._forget(entry.id)
        return due

    def advance(self, now_ms: int) -> list[Joined]:
        """Let impressions leave that are due although no entry says so.

        Args:
            now_ms: The log's clock; every entry that has not been taken has this time or a later one. It
                says nothing if the clock is that of events.
        """
        return list(self._leaving(now_ms)) if self._clock is Clock.ARRIVAL else []

    def take_rejected(self) -> list[tuple[Reason, Event]]:
        """The events that were set aside since the last call."""
        rejected, self.rejected = self.rejected, []
        return rejected

    def _take_impression(self, number: EntryId, impression: Impression) -> Iterator[Joined]:
        header = impression.header
        known = self._sight(header.request_id, number)
        if number < self._start.oldest or number in self._left_before:
            self._by_request.pop(header.request_id, None)
            self._gone[header.request_id] = number
            return
        if known:
            if number > self._start.reported:
                self.repeated_impressions += 1
            return
        time_ms = number.ms if self._clock is Clock.ARRIVAL else header.time_ms
        waiting = Waiting.begin(number, time_ms, impression, len(self._rule.labels))
        heapq.heappush(self._waiting, waiting)
        self._arrived[number] = None
        self._by_request[header.request_id] = waiting
        self.rows += len(waiting.index)
        self._listener.begun(number, impression)
        if self._clock is Clock.EVENT:
            yield from self._leaving(header.time_ms)

    def _sight(self, request_id: str, number: EntryId) -> bool:
        """Whether the impression of a request is known; it is remembered from its latest sighting on.

        Which one is known depends on ids alone, so a joiner that starts again knows the same ones.
        """
        waiting = self._by_request.get(request_id)
        sighted = self._gone.get(request_id) if waiting is None else waiting.sighted
        if sighted is None or sighted.ms + self._remembered_ms < number.ms:
            return False
        if waiting is not None:
            waiting.sighted = number
        else:
            self._gone[request_id] = number
            self._gone.move_to_end(request_id)
        return True

    def _take_feedback(self, number: EntryId, events: Sequence[Event]) -> Iterator[Joined]:
        for event in events:
            reason = self._fill(number, event)
            if reason is not None and number > self._start.reported:
                self.rejected.append((reason, event))
        if self._clock is Clock.EVENT:
            yield from self._leaving(max((event.time_ms or 0 for event in events), default=0))

    def _fill(self, number: EntryId, event: Event) -> Reason | None:
        """Take one event in; or why not."""
        waiting = self._by_request.get(event.request_id)
        if waiting is None:
            return Reason.TOO_LATE if event.request_id in self._gone else Reason.UNKNOWN_REQUEST
        at_ms = number.ms
        if self._clock is Clock.EVENT and event.time_ms is not None:
            at_ms = event.time_ms
        return waiting.fill(event, at_ms, self._rule, self._listener)

    def _leaving(self, watermark_ms: int) -> Iterator[Joined]:
        """Let go of those whose wait is over before a time."""
        before = self._watermark_ms
        reached = max(before, watermark_ms)
        while self._waiting and self._waiting[0].time_ms + self.wait_ms < reached:
            yield self._leave(before)
        self._watermark_ms = reached

    def _leave(self, watermark_ms: int) -> Joined:
        """Let go of the first; the watermark is that at which it was not due yet.

        One that came too late to wait counts as shown at the earliest time that was still open.
        """
        before = JoinOffset(
            oldest=next(iter(self._arrived)),
            left=tuple(self._left),
            rows=0,
            watermark_ms=0 if self._clock is Clock.ARRIVAL else watermark_ms,
            time_ms=self._time_ms,
            reported=self._reported,
        )
        waiting = heapq.heappop(self._waiting)
        request_id = waiting.impression.header.request_id
        del self._arrived[waiting.id]
        if self._by_request.get(request_id) is waiting:  # none of the same name came long after it
            del self._by_request[request_id]
            self._gone[request_id] = waiting.sighted
        self.rows -= len(waiting.index)
        oldest = next(iter(self._arrived), self._last)
        self._left = [number for number in (*self._left, waiting.id) if number > oldest]
        self._time_ms = max(self._time_ms, waiting.time_ms, watermark_ms - self.wait_ms)
        labels = self._rule.with_absent(waiting.labels)
        return Joined(waiting.id, self._time_ms, waiting.impression, labels, waiting.positions, before)

    def _forget(self, number: EntryId) -> None:
        """Forget requests that left longer ago than the window."""
        while self._gone:
            request_id, left = next(iter(self._gone.items()))
            if left.ms + self._remembered_ms >= number.ms:
                return
            del self._gone[request_id]


def content_of(entry: Entry) -> Impression | list[Event]:
    """What an entry says.

    Raises:
        EventLogError: It is damaged.
    """
    where = f"entry {entry.id} of the log of events"
    if entry.kind is Kind.IMPRESSION:
        return Impression.from_bytes(entry.data, where=where)
    if entry.kind is Kind.UNKNOWN:
        raise EventLogError(f"{where}: expected an impression or feedback, found something else")
    return feedback.from_bytes(entry.data, where=where)
