"""The log of events as a source: impressions joined with the feedback on them, as they become due.

A batch depends on the rows alone and not on when the log was read: it has a given number of rows, or ends
where the next row's time is in another stretch of `flush_s`. On a quiet log such a batch comes as soon as no
further row can be in its stretch.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import pyarrow as pa
import redis
from pydantic import BaseModel, ConfigDict

from ranker.errors import EventLogError, SourceError, StoreError
from ranker.spec import RankerSpec
from ranker.stream.event_log import BEGINNING, Entry, EntryId
from ranker.stream.examples import ExampleReader
from ranker.stream.feedback import Event, Reason
from ranker.stream.joined import START, Joined, JoinOffset
from ranker.stream.joiner import Clock, Joiner
from ranker.stream.layouts import Layouts
from ranker.stream.redis_event_log import RedisEventLog
from ranker.stream.rejected import queue_rejected
from ranker.stream.texts import Texts
from training.sources.base import Offset, Source, SourceBatch
from training.sources.joined_rows import JoinedRows
from training.sources.offsets import parse_offset

logger = logging.getLogger(__name__)
T = TypeVar("T")

ENTRIES: Final = 500
"""Entries that are read at once."""
POLL_S: Final = 1.0
"""How long a read waits for the next entry, at most: then the log's clock is asked, and whether to stop."""
FEW_ENTRIES: Final = 100
PAUSE_S: Final = 0.05
"""Pause after a read of few entries, so that those that trickle in are read together."""
MIN_BACKOFF_S: Final = 0.1
MAX_BACKOFF_S: Final = 5.0
"""While Redis is away, the pause between two attempts doubles up to this."""
NEVER_MS: Final = 2**63 - 1


class _StopError(Exception):
    """It is time to stop, while Redis is away."""


class LiveOffset(BaseModel):
    """How far the log of events was read.

    Attributes:
        join: Where the joiner goes on.
        reached_ms: No later row is of an earlier time.
        since_ms: The first time that was included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    join: JoinOffset
    reached_ms: int
    since_ms: int | None = None


class LiveSource(Source):
    """Examples out of the log of events, for ever, until it is told to stop.

    While Redis is away it waits, and says so once.

    Args:
        spec: The labels to join, and the columns.
        client: A connected client of the Redis that has the log; its answers are bytes.
        wait_s: How long an impression waits for feedback at least; see `Joiner`.
        stop: Asked at least every second or so whether to end.
        flush_s: Rows whose times are in different stretches of so many seconds are in different batches.
        whole_times: Whether rows of one time stay in one batch, which may then be longer.
        clock: By which time impressions wait.
        counts_rejected: Whether to count the events that are set aside; of several readers, one should.
    """

    def __init__(
        self,
        spec: RankerSpec,
        client: redis.Redis,
        *,
        wait_s: float,
        stop: Callable[[], bool],
        flush_s: float = 60.0,
        whole_times: bool = False,
        clock: Clock = Clock.ARRIVAL,
        counts_rejected: bool = True,
    ) -> None:
        self.name = "log of events"
        self._spec = spec
        self._client = client
        self._log = RedisEventLog(client)
        self._reader = ExampleReader(spec, Layouts(client), Texts(client, spec.hash_seed))
        self._wait_s = wait_s
        self._stop = stop
        self._flush_ms = round(flush_s * 1000)
        self._whole_times = whole_times
        self._clock = clock
        self._counts_rejected = counts_rejected
        self._left_early = False

    @property
    def schema(self) -> pa.Schema:
        """Schema of the batches: see `ExampleReader`."""
        return self._reader.schema

    def reached_ms(self, offset: Offset | None) -> int | None:
        """The event time up to which all rows were read; None at the beginning."""
        return None if offset is None else self._parsed(offset).reached_ms

    def needed(self, offset: Offset | None) -> EntryId:
        """The first entry of the log that is needed to go on from an offset; None is the beginning."""
        if offset is None:
            return BEGINNING
        read_after = self._joiner(self._parsed(offset).join).read_after
        return BEGINNING if read_after == BEGINNING else read_after.next()

    def batches(
        self,
        rows: int,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        resume_from: Offset | None = None,
    ) -> Iterator[SourceBatch]:
        """Yield the examples in the order of their times, until told to stop; see `Source.batches`.

        While no impression comes, batches without rows say how far event time has come.

        What has not filled a batch by then is left for when reading goes on.

        Raises:
            EventLogError: The log lacks entries that are needed, or the layout or texts of an impression are
                not kept.
        """
        offset = None if resume_from is None else self._parsed(resume_from)
        if offset is not None and offset.since_ms != since_ms:
            raise SourceError(
                f"{self.name}: expected to go on reading from time_ms {offset.since_ms} on, found {since_ms}"
            )
        start = START if offset is None else offset.join
        last, reached_ms = (None, 0) if offset is None else (start, offset.reached_ms)
        collected = JoinedRows(rows, self._flush_ms, whole_times=self._whole_times, skip_rows=start.rows)

        def batch(records: pa.RecordBatch, join: JoinOffset) -> SourceBatch:
            after = LiveOffset(join=join, reached_ms=reached_ms, since_ms=since_ms)
            return SourceBatch(records, after.model_dump(mode="json"), arrived=True)

        def cuts(complete_ms: int) -> Iterator[SourceBatch]:
            nonlocal last, reached_ms
            for cut in collected.cut(self._read, complete_ms):
                last, reached_ms = cut.offset, cut.reached_ms
                yield batch(cut.records, last)

        with suppress(_StopError):
            for joined, complete_ms in self._leaving(self._joiner(start)):
                inside = [one for one in joined if _within(one.time_ms, since_ms, until_ms)]
                collected.add(inside)
                newest_ms = max([complete_ms, *(one.time_ms for one in joined[-1:])])
                if until_ms is not None and newest_ms >= until_ms:
                    yield from cuts(NEVER_MS)
                    return
                if collected.is_due(complete_ms):
                    yield from cuts(complete_ms)
                quiet_ms = complete_ms // self._flush_ms * self._flush_ms
                if last is not None and not collected and quiet_ms > reached_ms:
                    reached_ms = quiet_ms
                    yield batch(self._read([]), last)

    def users(self) -> Iterator[pa.RecordBatch]:
        """Nothing: the log of events names viewers, it does not describe them."""
        return iter(())

    def videos(self) -> Iterator[pa.RecordBatch]:
        """Nothing, as of viewers."""
        return iter(())

    def _leaving(self, joiner: Joiner) -> Iterator[tuple[list[Joined], int]]:
        """Read the log for ever; yield what leaves the joiner, and the time that no later impression has.

        Raises:
            _StopError: It is time to stop.
        """
        after, complete_ms = joiner.read_after, 0
        while not self._stop():
            now_ms = self._asked(self._log.now_ms)  # before reading: what is not read then is not earlier
            entries = self._asked(partial(self._log.read, after, count=ENTRIES, wait_s=POLL_S))
            joined = [one for entry in entries for one in self._taken(joiner, entry)]
            if entries:
                after = entries[-1].id
            if len(entries) < ENTRIES:
                joined += joiner.advance(now_ms)
            complete_ms = max(complete_ms, joiner.complete_ms)
            if self._clock is Clock.ARRIVAL and len(entries) < ENTRIES:
                complete_ms = max(complete_ms, now_ms - joiner.wait_ms)
            self._set_aside(joiner.take_rejected())
            if joiner.left_early and not self._left_early:
                logger.warning("%s: so many rows wait for feedback that the oldest leave early", self.name)
                self._left_early = True
            yield joined, complete_ms
            if 0 < len(entries) < min(FEW_ENTRIES, ENTRIES):
                time.sleep(PAUSE_S)

    def _taken(self, joiner: Joiner, entry: Entry) -> list[Joined]:
        try:
            return joiner.take(entry)
        except EventLogError as error:
            logger.warning("%s; it is left out", error)
            return []

    def _set_aside(self, rejected: Sequence[tuple[Reason, Event]]) -> None:
        """Count events that were set aside."""

        def write() -> None:
            with self._client.pipeline(transaction=False) as pipeline:
                queue_rejected(pipeline, rejected)
                try:
                    pipeline.execute()
                except redis.RedisError as error:
                    raise StoreError(f"{self.name}: expected Redis to count events, found {error}") from error

        if rejected and self._counts_rejected:
            self._asked(write)

    def _read(self, joined: Sequence[Joined]) -> pa.RecordBatch:
        return self._asked(partial(self._reader.read, joined))

    def _asked(self, ask: Callable[[], T]) -> T:
        """Ask Redis until it answers.

        Raises:
            EventLogError: What it has is damaged, or not all that is needed.
            _StopError: It is time to stop.
        """
        pause_s = 0.0
        while True:
            try:
                answer = ask()
            except EventLogError:
                raise
            except StoreError as error:
                if not pause_s:
                    logger.warning("%s; waiting for it", error)
                pause_s = min(max(2 * pause_s, MIN_BACKOFF_S), MAX_BACKOFF_S)
            else:
                if pause_s:
                    logger.info("%s: Redis answers again", self.name)
                return answer
            until_s = time.monotonic() + pause_s
            while not self._stop() and time.monotonic() < until_s:
                time.sleep(MIN_BACKOFF_S)
            if self._stop():
                raise _StopError

    def _joiner(self, offset: JoinOffset) -> Joiner:
        return Joiner(self._spec.feedback, wait_s=self._wait_s, clock=self._clock, offset=offset)

    def _parsed(self, offset: Offset) -> LiveOffset:
        return parse_offset(offset, LiveOffset, where=self.name)


def _within(time_ms: int, since_ms: int | None, until_ms: int | None) -> bool:
    return (since_ms is None or time_ms >= since_ms) and (until_ms is None or time_ms < until_ms)
