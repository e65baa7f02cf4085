"""Joining impressions with the feedback on them, by one rule, from the log of events alone.

An impression waits until the longest wait of its labels has passed; then it leaves with what had arrived by
then, and each label counts what arrived within its own wait. Time is that of the log: the ids of its entries,
or with `Clock.EVENT` the times that requests and feedback carry, for a log at rest that is played back faster
than it happened. So whoever reads the log from an offset comes to the same examples in the same order.

What comes twice counts once: an event of a known id, and an impression of a known request, within the time
that the impression waits and `window_s` after it left. This holds across restarts, as a reader that starts
again reads so much of the log once more; with `Clock.EVENT` as long as entries arrive within `window_s` of
each other that are as near in time.

Shape letters: N videos of an impression, F labels.
"""

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranker.errors import EventLogError
from ranker.labels.label import Label
from ranker.stream import feedback
from ranker.stream.event_log import BEGINNING, LAST_NUMBER, Entry, EntryId, Kind
from ranker.stream.feedback import SHOWN, Event
from ranker.stream.impressions import Impression

MAX_EVENTS_PER_VIDEO: Final = 64
"""Events on an impression that are remembered, for each of its videos; further ones are set aside."""


class Clock(Enum):
    """By which time an impression waits."""

    ARRIVAL = "arrival"
    """When its entry, and those of feedback, arrived: strictly increasing, given by the server."""
    EVENT = "event"
    """When the request was made and the feedback given, as they say themselves."""


class Reason(StrEnum):
    """Why an event is set aside."""

    UNKNOWN_REQUEST = "unknown request"
    UNKNOWN_VIDEO = "unknown video"
    UNKNOWN_KIND = "unknown kind"
    TOO_LATE = "too late"
    OUT_OF_RANGE = "out of range"
    IMPLAUSIBLE_TIME = "implausible time"
    REPEATED = "repeated"
    TOO_MANY = "too many"


@dataclass(frozen=True)
class JoinOffset:
    """Where a joiner goes on, as if it had never stopped.

    Attributes:
        oldest: The oldest impression that had not left.
        left: Younger ones that had left.
        rows: Rows of the next impression that were taken already.
        watermark_ms: Up to when all had arrived; 0 with the clock of arrival, as the ids of entries say it.
        time_ms: Time of the latest impression that left.
        reported: Up to which entry rejections were reported.
    """

    oldest: EntryId = BEGINNING
    left: tuple[EntryId, ...] = ()
    rows: int = 0
    watermark_ms: int = 0
    time_ms: int = 0
    reported: EntryId = BEGINNING

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "oldest": str(self.oldest),
            "left": [str(number) for number in self.left],
            "rows": self.rows,
            "watermark_ms": self.watermark_ms,
            "time_ms": self.time_ms,
            "reported": str(self.reported),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "JoinOffset":
        """Read what `to_json` gave.

        Raises:
            EventLogError: It is something else.
        """
        try:
            return cls(
                EntryId.of(document["oldest"]),
                tuple(map(EntryId.of, document["left"])),
                int(document["rows"]),
                int(document["watermark_ms"]),
                int(document["time_ms"]),
                EntryId.of(document["reported"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise EventLogError(f"expected an offset in the events, found {document!r:.200}") from error


@dataclass(frozen=True)
class Joined:
    """An impression with the feedback on it.

    Attributes:
        id: Its entry.
        time_ms: When it was shown: never before the one that left before it.
        impression: What was shown.
        labels: (N, F) float32 in natural units, NaN where missing.
        positions: (N,) where each video was seen; 0 for one that was not.
        before: The offset at which it is the next to leave.
    """

    id: EntryId
    time_ms: int
    impression: Impression
    labels: NDArray[np.float32]
    positions: NDArray[np.int64]
    before: JoinOffset

    def offset(self, rows: int) -> JoinOffset:
        """The offset after so many of its videos."""
        return replace(self.before, rows=rows)


@dataclass
class _Waiting:
    """An impression that waits, ordered by its time."""

    id: EntryId
    time_ms: int
    impression: Impression
    index: dict[str, int]
    labels: NDArray[np.float32]
    positions: NDArray[np.int64]
    sighted: EntryId
    seen_events: set[int] = field(default_factory=set)

    def __lt__(self, other: "_Waiting") -> bool:
        return (self.time_ms, self.id) < (other.time_ms, other.id)


class Listener:
    """Is told of what happens to impressions that wait; does nothing about it."""

    def begun(self, number: EntryId, impression: Impression) -> None:
        """An impression begins to wait."""

    def filled(self, number: EntryId, row: int, column: int, value: float) -> None:
        """Feedback gave a label.

        Args:
            number: The impression's entry.
            row: Which of its videos.
            column: Which label.
            value: What it is by now, in natural units.
        """


class Joiner:
    """Joins the entries of a log of events, which it takes one after the other.

    Args:
        labels: The F labels, each of which is given by events of its name.
        wait_s: How long an impression waits at least; labels without a `label_wait` count for all of it.
        clock: By which time.
        window_s: How long, by the ids of entries, an impression that left is remembered.
        max_rows: Videos that may wait; beyond, the oldest impressions leave early.
        offset: Where to go on; the beginning of the log by default.
        listener: Told of what waits.

    Attributes:
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
        offset: JoinOffset | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._labels = list(labels)
        self._columns = {label.name: column for column, label in enumerate(labels)}
        self._absent = np.array([label.absent_value for label in labels], np.float32)
        longest = max([wait_s, *(label.label_wait for label in labels)])
        self._wait_ms = round(longest * 1000)
        self._waits_ms = [round((label.label_wait or longest) * 1000) for label in labels]
        self._ranges = [label.value_range for label in labels]
        self._clock = clock
        self._listener = listener or Listener()
        self._remembered_ms = self._wait_ms + round(window_s * 1000)
        self._max_rows = max_rows
        self._start = offset or JoinOffset()
        self._left_before = frozenset(self._start.left)
        self._watermark_ms = self._start.watermark_ms
        self._time_ms = self._start.time_ms
        self._reported = self._start.reported
        self._waiting: list[_Waiting] = []  # a heap by time
        self._arrived: OrderedDict[EntryId, None] = OrderedDict()  # those that wait, by arrival
        self._by_request: dict[str, _Waiting] = {}
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
    def needed(self) -> EntryId:
        """The first entry that a joiner that starts again now would need."""
        oldest = self._offset().oldest
        return EntryId(max(0, oldest.ms - self._remembered_ms), 0)

    @property
    def wait_ms(self) -> int:
        """How long an impression waits."""
        return self._wait_ms

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
        count = len(header.video_ids)
        served = np.arange(1, count + 1)
        waiting = _Waiting(
            number,
            number.ms if self._clock is Clock.ARRIVAL else header.time_ms,
            impression,
            {video: row for row, video in enumerate(header.video_ids)},
            np.full((count, len(self._labels)), np.nan, np.float32),
            np.zeros(count, np.int64) if header.reported else served,
            number,
        )
        heapq.heappush(self._waiting, waiting)
        self._arrived[number] = None
        self._by_request[header.request_id] = waiting
        self.rows += count
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
        newest = number.ms
        if self._clock is Clock.EVENT:
            newest = max((event.time_ms or 0 for event in events), default=0)
        for event in events:
            reason = self._fill(number, event)
            if reason is not None and number > self._start.reported:
                self.rejected.append((reason, event))
        if self._clock is Clock.EVENT:
            yield from self._leaving(newest)

    def _fill(self, number: EntryId, event: Event) -> Reason | None:
        """Take one event in; or why not."""
        waiting = self._by_request.get(event.request_id)
        if waiting is None:
            return Reason.TOO_LATE if event.request_id in self._gone else Reason.UNKNOWN_REQUEST
        row = waiting.index.get(event.video_id)
        if row is None:
            return Reason.UNKNOWN_VIDEO
        if event.kind != SHOWN and event.kind not in self._columns:
            return Reason.UNKNOWN_KIND
        if len(waiting.seen_events) >= MAX_EVENTS_PER_VIDEO * len(waiting.index):
            return Reason.TOO_MANY
        name = hash(event.event_id)
        if name in waiting.seen_events:
            return Reason.REPEATED
        at_ms = number.ms
        if self._clock is Clock.EVENT and event.time_ms is not None:
            at_ms = event.time_ms
        if event.kind == SHOWN:
            waiting.seen_events.add(name)
            waiting.positions[row] = int(event.value) if event.value >= 1 else row + 1
            return None
        column = self._columns[event.kind]
        if at_ms - waiting.time_ms > self._waits_ms[column]:
            return Reason.TOO_LATE
        label = self._labels[column]
        low, high = self._ranges[column]
        if not (math.isfinite(event.value) and low <= event.value <= high):
            return Reason.OUT_OF_RANGE
        waiting.seen_events.add(name)
        value = float(event.value)
        if label.several != "last":
            before = waiting.labels.item(row, column)
            if not math.isnan(before):
                value = before + value if label.several == "sum" else max(before, value)
        waiting.labels[row, column] = value
        self._listener.filled(waiting.id, row, column, value)
        return None

    def _leaving(self, watermark_ms: int) -> Iterator[Joined]:
        """Let go of those whose wait is over before a time."""
        before = self._watermark_ms
        reached = max(before, watermark_ms)
        while self._waiting and self._waiting[0].time_ms + self._wait_ms < reached:
            yield self._leave(before)
        self._watermark_ms = reached

    def _leave(self, watermark_ms: int) -> Joined:
        offset = self._offset(watermark_ms)
        waiting = heapq.heappop(self._waiting)
        request_id = waiting.impression.header.request_id
        del self._arrived[waiting.id]
        if self._by_request.get(request_id) is waiting:  # none of the same name came long after it
            del self._by_request[request_id]
            self._gone[request_id] = waiting.sighted
        self.rows -= len(waiting.index)
        oldest = next(iter(self._arrived), self._last)
        self._left = [number for number in (*self._left, waiting.id) if number > oldest]
        self._time_ms = max(self._time_ms, waiting.time_ms)
        labels = np.where(np.isnan(waiting.labels), self._absent, waiting.labels)
        return Joined(waiting.id, self._time_ms, waiting.impression, labels, waiting.positions, offset)

    def _offset(self, watermark_ms: int | None = None) -> JoinOffset:
        watermark_ms = self._watermark_ms if watermark_ms is None else watermark_ms
        return JoinOffset(
            oldest=next(iter(self._arrived), self._last.next()),
            left=tuple(self._left),
            watermark_ms=0 if self._clock is Clock.ARRIVAL else watermark_ms,
            time_ms=self._time_ms,
            reported=self._reported,
        )

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
