"""A circuit breaker for a Redis that does not answer."""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from time import perf_counter
from typing import Any, Final, TypeVar

import redis
import redis.asyncio

from ranker.errors import StoreAwayError, StoreError
from serving.http.metrics import Metrics
from serving.sync.cancellation import cancel_and_wait

logger = logging.getLogger(__name__)

T = TypeVar("T")
PROBE_S: Final = 0.2
"""Pause between two pings of a Redis that does not answer."""
MAX_LEFT_CALLS: Final = 64
"""Calls that Redis may still owe an answer after their requests went on without it."""


class CircuitBreaker:
    """Lets calls through to Redis while it answers.

    After the first failure every call fails at once, until a probe is answered. Connections from before the
    failure are not used again.

    Args:
        client: Whose calls they are.
        probe_timeout_s: How long a probe may take.
        metrics: Counts failures and the time without Redis.
    """

    def __init__(self, client: redis.asyncio.Redis, probe_timeout_s: float, metrics: Metrics) -> None:
        self._client = client
        self._probe_timeout_s = probe_timeout_s
        self._metrics = metrics
        self._probing: asyncio.Task[None] | None = None
        self._left: set[asyncio.Task[Any]] = set()
        metrics.feature_store(True)

    @property
    def is_open(self) -> bool:
        """Whether Redis is away, so that every call fails at once."""
        return self._probing is not None

    async def call(self, command: Awaitable[T], timeout_s: float) -> T:
        """Wait for a command.

        Args:
            command: To be awaited once.
            timeout_s: A Redis that has not answered by then is away.

        Raises:
            StoreAwayError: Redis has not answered a probe since it last failed to; it was not asked.
            StoreError: Redis did not answer in time, or refuses the command.
        """
        if self._probing is not None:
            if asyncio.iscoroutine(command):
                command.close()
            raise StoreAwayError("expected Redis to answer, found that it is away")
        try:
            async with asyncio.timeout(timeout_s):
                return await command
        except redis.ResponseError as error:  # Redis answers, but refuses this one command
            self._metrics.feature_store_error()
            logger.error("Redis refused a command: %s", error)
            raise StoreError("expected Redis to accept a command, found that it refused") from error
        except (redis.RedisError, OSError) as error:
            self._metrics.feature_store_error()
            if self._probing is None:
                logger.error(
                    "Redis is away, ranking with what is resident: %s %s", type(error).__name__, error
                )
                self._probing = asyncio.create_task(self._probe())
                self._metrics.feature_store(False)
            raise StoreError(f"expected Redis to answer, found {type(error).__name__}") from error

    async def call_within(self, seconds: float, command: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Wait for a command for so long; then it goes on alone, and may find that Redis is away.

        Args:
            seconds: How long to wait.
            command: To be awaited once.
            timeout_s: As for `call`: a Redis that answers later than `seconds` but within this is not away.

        Raises:
            StoreError: Redis did not answer in time, or owes too many answers already; or as for `call`.
        """
        if len(self._left) >= MAX_LEFT_CALLS:
            command.close()
            raise StoreError(f"expected Redis to answer, found that it owes {MAX_LEFT_CALLS} answers")
        call = self.call(command, timeout_s)
        if seconds >= timeout_s:
            return await call
        task = asyncio.ensure_future(call)
        self._left.add(task)
        task.add_done_callback(self._forget)
        done, _ = await asyncio.wait([task], timeout=max(0.0, seconds))
        if not done:
            raise StoreError(f"expected Redis to answer within {seconds * 1000:.0f} ms")
        return task.result()

    async def close(self) -> None:
        """End what is still waited for."""
        await cancel_and_wait(self._probing)
        for task in list(self._left):
            await cancel_and_wait(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._left.discard(task)
        if not task.cancelled():
            task.exception()  # or asyncio complains that nobody looked

    async def _probe(self) -> None:
        """Wait until Redis answers again."""
        since = perf_counter()
        while True:
            await asyncio.sleep(PROBE_S)
            now = perf_counter()
            self._metrics.degraded("feature_store", now - since)
            since = now
            try:
                async with asyncio.timeout(self._probe_timeout_s):
                    # Idle connections may have died with the server, and redis-py does not always notice
                    # before it uses them (its issue 4252): each would make one more request fail.
                    await self._client.connection_pool.disconnect(inuse_connections=False)
                    await self._client.ping()
            except (redis.RedisError, OSError):
                continue
            logger.info("Redis answers again")
            self._metrics.feature_store(True)
            self._probing = None
            return
