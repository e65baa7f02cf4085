"""The service's way to the log of events: writing to it, and keeping it within its bound."""

import asyncio
import logging
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import redis.asyncio
from redis.asyncio.client import Pipeline

from ranker.errors import StoreError
from ranker.store.keys import events_key
from ranker.stream.bound import queue_drop_oldest
from serving.http.event_metrics import EventMetrics
from serving.settings import AtMaxEvents
from serving.sync.cancellation import cancel_and_wait
from serving.sync.circuit_breaker import CircuitBreaker

logger = logging.getLogger(__name__)

ASK_S: Final = 1.0
"""The log's length is asked for so often; in between, what this process writes is added to it."""
SAY_S: Final = 60.0
"""How often the log of the service says at most that entries were dropped."""


class EventStream:
    """Writes to the log of events, and keeps it within its bound.

    At the bound, the log either takes nothing more, see `full`, or loses its oldest entries. Other processes
    write too, so it may be longer by what they write in a second.

    Args:
        client: A client of the service's event loop.
        breaker: Lets calls through while Redis answers.
        timeout_s: How long one call may take.
        metrics: Has the log's length, and counts what it loses.
        max_entries: The bound.
        at_max: What happens there.

    Attributes:
        timeout_s: How long one call may take.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        breaker: CircuitBreaker,
        timeout_s: float,
        metrics: EventMetrics,
        *,
        max_entries: int,
        at_max: AtMaxEvents,
    ) -> None:
        self._client = client
        self._breaker = breaker
        self.timeout_s = timeout_s
        self._metrics = metrics
        self._max_entries = max_entries
        self._drops = at_max is AtMaxEvents.DROP
        self._length = 0
        self._asked_at = -ASK_S
        self._said_at, self._dropped_since = -SAY_S, 0
        self._watching: asyncio.Task[None] | None = None
        self._dropping: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether the log takes nothing more."""
        return not self._drops and self._length >= self._max_entries

    @property
    def away(self) -> bool:
        """Whether Redis has not answered of late, so that it is not asked."""
        return self._breaker.is_open

    def pipeline(self, *, transaction: bool) -> Pipeline:
        """Commands for `write`; in a transaction all or none are done."""
        return self._client.pipeline(transaction=transaction)

    async def write(self, pipeline: Pipeline, entries: int) -> list[Any]:
        """Send commands that write entries to the log.

        Args:
            pipeline: The commands.
            entries: How many entries they write.

        Returns:
            The commands' answers; an exception in place of that of a command that Redis refused.

        Raises:
            StoreAwayError: Redis is away; nothing was written.
            StoreError: Redis did not answer, and it is not known whether anything was written; or it refused
                a transaction.
        """
        asks = monotonic() - self._asked_at >= ASK_S
        if asks:
            pipeline.xlen(events_key())
        answers: list[Any] = await self._breaker.call(pipeline.execute(raise_on_error=False), self.timeout_s)
        if asks:
            self._note_length(answers.pop())
        else:
            self._set_length(self._length + entries)
        return answers

    def start(self) -> None:
        """Ask for the length again and again, also while nothing is written."""
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop asking."""
        await cancel_and_wait(self._watching)
        await cancel_and_wait(self._dropping)

    async def _watch(self) -> None:
        while True:
            if not self.away and monotonic() - self._asked_at >= ASK_S:
                asked = self._client.xlen(events_key())
                with suppress(StoreError):  # the breaker says so
                    self._note_length(await self._breaker.call(asked, self.timeout_s))
            await asyncio.sleep(ASK_S)

    def _note_length(self, answer: Any) -> None:
        if isinstance(answer, int):
            self._asked_at = monotonic()
            self._set_length(answer)

    def _set_length(self, length: int) -> None:
        was_full, self._length = self.full, length
        self._metrics.event_log(length)
        if self.full and not was_full:
            logger.error(
                "the log of events is full: it has %d entries, and may have %d: impressions and events are "
                "refused until entries are read and trimmed",
                length,
                self._max_entries,
            )
        elif was_full and not self.full:
            logger.info("the log of events has room again")
        overflows = self._drops and length > self._max_entries
        if overflows and (self._dropping is None or self._dropping.done()):
            self._dropping = asyncio.create_task(self._drop_oldest())

    async def _drop_oldest(self) -> None:
        pipeline = self._client.pipeline(transaction=False)
        queue_drop_oldest(pipeline, self._max_entries)
        pipeline.xlen(events_key())
        try:
            dropped, length = await self._breaker.call(pipeline.execute(), self.timeout_s)
        except StoreError:
            return  # the breaker says so; the next write tries again
        if dropped:
            self._metrics.events_dropped(dropped)
            self._dropped_since += dropped
            if monotonic() - self._said_at >= SAY_S:
                logger.warning(
                    "the log of events has more than %d entries: the oldest %d were dropped, read or not",
                    self._max_entries,
                    self._dropped_since,
                )
                self._said_at, self._dropped_since = monotonic(), 0
        self._dropping = None
        self._note_length(length)
