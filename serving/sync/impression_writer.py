"""Writing impressions to the log of events, in their order.

All go through one buffer, which one task empties: those that came while it wrote go together with the next
call. While Redis is away they wait there, as many as fit.

An impression whose call was not answered is written again, since nobody knows whether it was written. So one
request may be in the log twice; readers of the log take the first of a request id.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ranker.errors import StoreAwayError, StoreError
from ranker.features.record import RecordLayout
from ranker.store.keys import events_key, layouts_key
from ranker.stream.event_log import Kind
from ranker.stream.layouts import ImpressionLayouts, queue_layouts
from ranker.stream.redis_event_log import entry_fields
from serving.http.event_metrics import EventMetrics
from serving.sync.cancellation import cancel_and_wait
from serving.sync.event_stream import EventStream

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 50_000
"""Impressions that may wait in a process."""
MAX_WAITING_BYTES: Final = 64 * 2**20
BATCH: Final = 64
"""Impressions of one call."""
BATCH_BYTES: Final = 4 * 2**20
LINGER_S: Final = 0.02
"""How long impressions that no answer waits for are gathered for one call."""
RETRY_S: Final = 0.2
"""Pause between two attempts while Redis is away."""
RETRY_REFUSED_S: Final = 1.0
"""Pause between two attempts while Redis answers, but refuses, such as one whose memory is full."""
CLOSE_S: Final = 3.0
"""How long the end of the process waits for what is in the buffer."""


@dataclass(frozen=True, eq=False)
class _Waiting:
    """An impression that is not written yet.

    Attributes:
        data: The entry's content.
        layouts: Of its words.
        written: Whether it is; False, which is not the last word, once it is known to take long.
    """

    data: bytes
    layouts: ImpressionLayouts
    written: "asyncio.Future[bool]"

    def settle(self, *, written: bool) -> None:
        """Say so to those who wait."""
        if not self.written.done():
            self.written.set_result(written)


class ImpressionWriter:
    """Writes impressions.

    Args:
        stream: The log.
        metrics: Counts impressions by what became of them.
        waits: Whether an answer waits until its impression is written.
    """

    def __init__(self, stream: EventStream, metrics: EventMetrics, *, waits: bool) -> None:
        self._stream = stream
        self._metrics = metrics
        self._waits = waits
        self._buffer: deque[_Waiting] = deque()
        self._bytes = 0
        self._behind = False
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._described: set[str] = set()

    def add(self, data: bytes, layouts: ImpressionLayouts) -> "bool | asyncio.Future[bool]":
        """Take an impression, and begin to write it.

        Args:
            data: The entry's content.
            layouts: Of its words.

        Returns:
            For an answer that waits, what will tell whether it is written; else whether it is about to be. If
            not it may still be, once Redis answers again: it waits, unless too many do, or the log is full.
        """
        if self._stream.full:
            self._metrics.impressions("refused", 1)
            return False
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(data, layouts, written)
        if len(self._buffer) >= MAX_WAITING or self._bytes + len(data) > MAX_WAITING_BYTES:
            self._metrics.impressions("dropped", 1)
            return False
        self._buffer.append(waiting)
        self._bytes += len(data)
        self._metrics.impressions_waiting(len(self._buffer))
        if self._behind:
            self._metrics.impressions("buffered", 1)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._flush())
        return not self._behind if self._behind or not self._waits else written

    async def outcome(self, written: "bool | asyncio.Future[bool]", *, within_s: float) -> bool:
        """What `add` has told, or will tell within a time; False if it does not."""
        if isinstance(written, bool):
            return written
        if within_s < self._stream.timeout_s:
            done, _ = await asyncio.wait({written}, timeout=max(0.0, within_s))
            return written in done and await written
        return await written

    async def settle(self) -> None:
        """Wait until the impressions so far are written, so that what is written next comes after them.

        Raises:
            StoreAwayError: They are not.
        """
        if not self._buffer:
            return
        newest = self._buffer[-1].written
        if not self._behind:
            await asyncio.wait({newest}, timeout=self._stream.timeout_s)
        if self._behind or not newest.done():
            raise StoreAwayError("expected the impressions so far to be written, found that they wait")

    async def close(self) -> None:
        """Write what waits, for a bounded time."""
        self._closing = True
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=CLOSE_S)
        await cancel_and_wait(self._task)
        if self._buffer:
            self._metrics.impressions("dropped", len(self._buffer))
            logger.error("%d impressions are lost: Redis did not take them in time", len(self._buffer))

    async def _flush(self) -> None:
        """Empty the buffer."""
        if not (self._waits or self._behind or self._closing):
            await asyncio.sleep(LINGER_S)
        while self._buffer:
            if not (self._stream.away or self._stream.full) and await self._write(self._next_batch()):
                continue
            self._fall_behind()
            await asyncio.sleep(RETRY_S if self._stream.away else RETRY_REFUSED_S)
        if self._behind:
            self._behind = False
            logger.info("all impressions that waited are written")

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        for waiting in self._buffer:
            size += len(waiting.data)
            if batch and (size > BATCH_BYTES or len(batch) == BATCH):
                break
            batch.append(waiting)
        return batch

    def _fall_behind(self) -> None:
        """Let the answers go, which say that their impressions are not written."""
        if not self._behind:
            self._behind = True
            self._metrics.impressions("buffered", len(self._buffer))
            logger.warning("impressions wait until Redis takes them again, as many as fit")
            for waiting in self._buffer:
                waiting.settle(written=False)
            self._described.clear()  # Redis may have lost what it had

    async def _write(self, batch: Sequence[_Waiting]) -> bool:
        """Write the oldest; return whether all of them are written."""
        try:
            answers = await self._send(batch)
        except StoreError:
            return False  # the breaker says why
        except Exception as error:  # whatever it is, rankings go on
            if not self._behind:
                logger.error("impressions cannot be written: %r", error)
            return False
        refused = [one for one, answer in zip(batch, answers, strict=True) if isinstance(answer, Exception)]
        for waiting in batch:
            self._buffer.popleft()
            if waiting not in refused:
                self._bytes -= len(waiting.data)
                waiting.settle(written=True)
        self._buffer.extendleft(reversed(refused))
        self._metrics.impressions_waiting(len(self._buffer))
        self._metrics.impressions("written", len(batch) - len(refused))
        if refused and not self._behind:
            why = next(answer for answer in answers if isinstance(answer, Exception))
            logger.error("Redis refused an impression: %s", why)
        return not refused

    async def _send(self, batch: Sequence[_Waiting]) -> list[Any]:
        """Send some impressions, and before them what is needed to read them; return their answers.

        Raises:
            StoreError: Redis did not answer, or refused a transaction.
        """
        layouts = self._undescribed(batch)
        # together, as nobody could read an impression without them
        pipeline = self._stream.pipeline(transaction=bool(layouts))
        if layouts:
            queue_layouts(pipeline, layouts.values())
        first = len(pipeline)
        for waiting in batch:
            pipeline.xadd(events_key(), entry_fields(Kind.IMPRESSION, waiting.data))
        pipeline.hexists(layouts_key(), batch[-1].layouts.digests[0])
        *answers, kept = await self._stream.write(pipeline, len(batch))
        self._note(layouts, answers[:first])
        if not kept:
            logger.warning("Redis has lost what it had: layouts of impressions are written again")
            self._described.clear()
            layouts = self._undescribed(batch)
            pipeline = self._stream.pipeline(transaction=True)
            queue_layouts(pipeline, layouts.values())
            self._note(layouts, await self._stream.write(pipeline, 0))
        return answers[first:]

    def _undescribed(self, batch: Iterable[_Waiting]) -> dict[str, RecordLayout]:
        """Layouts, by digest, that are not known to be written."""
        layouts: dict[str, RecordLayout] = {}
        for waiting in batch:
            if not self._described.issuperset(waiting.layouts.by_digest):
                layouts |= waiting.layouts.by_digest
        return layouts

    def _note(self, layouts: Iterable[str], answers: Sequence[Any]) -> None:
        if error := next((answer for answer in answers if isinstance(answer, Exception)), None):
            logger.error("Redis refused what is needed to read impressions: %s", error)
            return
        self._described.update(layouts)
