"""Playing a log at rest back over HTTP, so that it is shown, answered, joined and learned as it was.

Each request of the log is ranked by the service, which orders by its own score; events of the kind `shown`
then say which videos were seen, and where. So with `--impressions-seen shown` an answer that the replay has
not noted, because it or the service was killed, counts for nothing, and the request is sent again. All events
have ids derived from the log, so sending them again counts once.

The requests of a stretch of event time are sent at once, then their ids are noted in a file, then the events
that are due by then are sent. A reader that waits by the clock of events for at least twice a stretch finds
all of them in time.
"""

import heapq
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from ranker.errors import SourceError
from ranker.files.lock import locked
from ranker.files.whole import naming
from ranker.spec import RankerSpec
from training.replay.asking import AskingClient, StopAskingError
from training.replay.logged_requests import LoggedEvent, LoggedRequest, RequestReader
from training.replay.progress import ReplayIdentity, ReplayProgress
from training.sources.base import Source

logger = logging.getLogger(__name__)

CONNECTIONS: Final = 16
MAX_REQUESTS: Final = 256
"""Requests that are sent at once."""
STRETCH_S: Final = 0.25
"""Time in which requests are sent at once, at a chosen speed."""
EVENTS_PER_CALL: Final = 1_000
ROWS: Final = 4_096
"""Rows that are read at once."""
HOUR_MS: Final = 3_600_000
PAUSE_S: Final = 0.05


@dataclass(frozen=True)
class ReplayConfig:
    """What to play back, and to whom.

    Attributes:
        spec: The ranker of the service: which columns requests carry, and which labels viewers give.
        source: The log.
        url: Of the service.
        progress: The file that says how far it has come.
        speed: Event time that passes in a second, in seconds; None for as fast as the service answers.
        since_ms: First event time; None for the log's first.
        until_ms: First event time that is left out; None for none.
        wait_s: How long those who read the log of events wait for feedback at least.
        restart: Begin anew instead of going on.
        api_key: A key of the service; None if it needs none.
    """

    spec: RankerSpec
    source: Source
    url: str
    progress: Path
    speed: float | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    wait_s: float = 60.0
    restart: bool = False
    api_key: str | None = None

    @property
    def wait_ms(self) -> int:
        """How long an impression waits."""
        return round(1000 * max([self.wait_s, *(label.label_wait for label in self.spec.feedback)]))

    @property
    def identity(self) -> ReplayIdentity:
        """What a saved progress has to agree with."""
        return ReplayIdentity(
            source=self.source.name, spec=self.spec.name, since_ms=self.since_ms, until_ms=self.until_ms
        )


@dataclass
class ReplayCounts:
    """What was sent.

    Attributes:
        requests: Requests that were answered, by earlier processes as well.
        events: Events that were written.
        rejected: Events that the service set aside, by reason.
        retries: How often something was sent again.
        silent: Rows without a label that counts as 0 without feedback, by label.
        reached_ms: Event time; None before the first request.
        done: Whether the whole log was sent.
    """

    requests: int = 0
    events: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    silent: dict[str, int] = field(default_factory=dict)
    reached_ms: int | None = None
    done: bool = False


def replay(
    config: ReplayConfig,
    *,
    stop: Callable[[], bool],
    watch: Callable[[ReplayCounts], None] = lambda _: None,
) -> ReplayCounts:
    """Play a log back, from where it was left, until its end or until told to stop.

    Args:
        config: What, and to whom.
        stop: Asked at least every few seconds whether to end.
        watch: Told of what was sent, again and again.

    Raises:
        SourceError: The log lacks what the spec needs, or no longer has what was sent of it.
        CheckpointError: The progress is damaged, or of another log, spec or time.
        UserError: The service refuses what the log has.
        FileError: The progress cannot be written.
        LockedError: Another process plays back with the same progress.
    """
    path = config.progress
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(path.name + ".lock"), str(path)):
        saved = None if config.restart else ReplayProgress.load(path, config.identity)
        if saved is not None and saved.done:
            return ReplayCounts(saved.requests, reached_ms=saved.reached_ms, done=True)
        with (
            AskingClient(config.url, config.api_key, stop) as client,
            ThreadPoolExecutor(CONNECTIONS, "watchnext-replay") as threads,
        ):
            player = _Player(config, client, threads, stop, watch)
            try:
                player.play(saved)
            except StopAskingError:
                logger.info("stopped; the same command goes on from there")
            return player.counts()


@dataclass
class _Open:
    """The requests of one time of which something may not have been sent yet.

    Attributes:
        time_ms: When they were made.
        last_ms: Time of their last event.
        request_ids: Ids of their answers, in the log's order.
    """

    time_ms: int
    last_ms: int = 0
    request_ids: list[str] = field(default_factory=list)


class _Player:
    """Sends requests and events, and notes how far it has come."""

    def __init__(
        self,
        config: ReplayConfig,
        client: AskingClient,
        threads: ThreadPoolExecutor,
        stop: Callable[[], bool],
        watch: Callable[[ReplayCounts], None],
    ) -> None:
        self._config = config
        self._threads = threads
        self._stop = stop
        self._watch = watch
        self._client = client
        schema, where = config.source.schema, config.source.name
        self._reader = RequestReader(config.spec, schema, where=where)
        self._due: list[tuple[int, int, str, LoggedEvent]] = []  # a heap by time
        self._pushed = 0
        self._open: deque[_Open] = deque()
        self._sent_ms = -1
        self._counts = ReplayCounts()
        self._pace = _Pace(config.speed)
        self._stretch_ms = config.wait_ms // 2
        if config.speed is not None:
            self._stretch_ms = min(self._stretch_ms, round(config.speed * 1000 * STRETCH_S))
        self._newest: tuple[str, LoggedEvent] | None = None

    def counts(self) -> ReplayCounts:
        """What was sent so far."""
        self._counts.retries, self._counts.silent = self._client.retries, self._reader.silent
        return self._counts

    def play(self, saved: ReplayProgress | None) -> None:
        """Send all that was not sent.

        Raises:
            StopAskingError: It is time to stop.
        """
        config = self._config
        since_ms = config.since_ms if saved is None else saved.begin_ms
        rows = config.source.records(ROWS, since_ms=since_ms, until_ms=config.until_ms)
        requests = self._reader.requests(rows)
        if saved is not None:
            self._go_on(saved, requests)
        for stretch in _stretches(requests, self._stretch_ms):
            self._send_until(stretch[0].time_ms - 1)
            self._pace.wait_for(stretch[-1].time_ms, self._stop)
            for request, request_id in zip(stretch, self._rank(stretch), strict=True):
                self._take(request, request_id)
            self._counts.requests += len(stretch)
            self._counts.reached_ms = stretch[-1].time_ms
            self._save()
            self._watch(self.counts())
        self._end()

    def _go_on(self, saved: ReplayProgress, requests: Iterator[LoggedRequest]) -> None:
        self._sent_ms = saved.sent_ms
        for request_id in saved.request_ids:
            request = next(requests, None)
            if request is None:
                raise SourceError(
                    f"{self._config.source.name}: expected the requests that were sent, found fewer"
                )
            self._take(request, request_id)
        self._counts.requests, self._counts.reached_ms = saved.requests, saved.reached_ms

    def _rank(self, stretch: Sequence[LoggedRequest]) -> list[str]:
        """The ids of the answers to some requests; those of one time are asked one after the other.

        So the log of events has them in the order of the log at rest.
        """
        ids = [""] * len(stretch)
        rest = list(enumerate(stretch))
        while rest:
            first = list({request.time_ms: place for place, request in reversed(rest)}.values())
            bodies = [stretch[place].body for place in first]
            for place, request_id in zip(first, self._threads.map(self._ranked, bodies), strict=True):
                ids[place] = request_id
            rest = [(place, request) for place, request in rest if place not in first]
        return ids

    def _ranked(self, body: bytes) -> str:
        """The id of the answer to a request, once its impression is written."""
        answer = self._client.post("/v1/rank", body, lambda found: "impressions" not in found["degraded"])
        return str(answer["request_id"])

    def _take(self, request: LoggedRequest, request_id: str) -> None:
        """Let the events of a request wait until they are due."""
        last_ms = request.time_ms
        for event in request.events:
            last_ms = max(last_ms, event.time_ms)
            if event.time_ms > self._sent_ms:
                self._pushed += 1
                heapq.heappush(self._due, (event.time_ms, self._pushed, request_id, event))
        if not self._open or self._open[-1].time_ms < request.time_ms:
            self._open.append(_Open(request.time_ms))
        self._open[-1].last_ms = max(self._open[-1].last_ms, last_ms)
        self._open[-1].request_ids.append(request_id)
        self._newest = request_id, request.events[0]

    def _save(self, *, done: bool = False) -> None:
        """Note how far it has come."""
        while len(self._open) > 1 and self._open[0].last_ms <= self._sent_ms:
            self._open.popleft()
        reached_ms = self._counts.reached_ms
        assert reached_ms is not None
        ReplayProgress(
            identity=self._config.identity,
            begin_ms=self._open[0].time_ms,
            request_ids=[request_id for open_ in self._open for request_id in open_.request_ids],
            sent_ms=self._sent_ms,
            reached_ms=reached_ms,
            requests=self._counts.requests,
            done=done,
        ).save(self._config.progress)

    def _send_until(self, time_ms: int) -> None:
        """Send what is due by a time."""
        while self._due and self._due[0][0] <= time_ms:
            until_ms = time_ms
            if self._config.speed is not None:
                until_ms = min(time_ms, self._due[0][0] + self._stretch_ms)
            self._pace.wait_for(until_ms, self._stop)
            events: list[dict[str, Any]] = []
            while self._due and self._due[0][0] <= until_ms and len(events) < EVENTS_PER_CALL:
                _, _, request_id, event = heapq.heappop(self._due)
                events.append(event.of_request(request_id))
            self._post_events(events)
        self._sent_ms = max(self._sent_ms, time_ms)

    def _post_events(self, events: Sequence[dict[str, Any]]) -> None:
        answer = self._client.post("/v1/events", orjson.dumps({"events": events}))
        self._counts.events += answer["written"]
        for rejected in answer["rejected"]:
            if not self._counts.rejected[rejected["reason"]]:
                logger.warning("an event was set aside: %s: %s", rejected["reason"], rejected["detail"])
            self._counts.rejected[rejected["reason"]] += 1

    def _end(self) -> None:
        """Send the last feedback, and say that the hour of the last request is over.

        Who reads the log of events by its own times learns the last rows only once a later time comes.
        """
        reached_ms = self._counts.reached_ms
        if self._newest is None or reached_ms is None:
            return
        self._send_until(max((time_ms for time_ms, *_ in self._due), default=reached_ms))
        over_ms = self._config.until_ms or (reached_ms // HOUR_MS + 1) * HOUR_MS
        request_id, shown = self._newest  # which counts once, whenever it comes again
        late = shown._replace(time_ms=over_ms + self._config.wait_ms + 1)
        self._post_events([late.of_request(request_id)])
        self._counts.done = True
        self._save(done=True)


class _Pace:
    """Lets event time pass at a chosen speed.

    Args:
        speed: Seconds of event time in a second; None for no bound.
    """

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._began: tuple[float, int] | None = None

    def wait_for(self, time_ms: int, stop: Callable[[], bool]) -> None:
        """Wait until an event time is reached.

        Raises:
            StopAskingError: It is time to stop.
        """
        if self._speed is not None:
            if self._began is None:
                self._began = time.monotonic(), time_ms
            began, began_ms = self._began
            until = began + (time_ms - began_ms) / 1000 / self._speed
            while not stop() and (left := until - time.monotonic()) > 0:
                time.sleep(min(left, PAUSE_S))
        if stop():
            raise StopAskingError


def _stretches(requests: Iterable[LoggedRequest], stretch_ms: int) -> Iterator[list[LoggedRequest]]:
    """Requests whose times are less than a stretch apart, all of one time together."""
    stretch: list[LoggedRequest] = []
    for request in requests:
        if stretch and request.time_ms > stretch[-1].time_ms:
            far = request.time_ms - stretch[0].time_ms > stretch_ms
            if far or len(stretch) >= MAX_REQUESTS:
                yield stretch
                stretch = []
        stretch.append(request)
    if stretch:
        yield stretch
