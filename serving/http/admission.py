"""Which ranking requests are taken on, decided before their bodies are read."""

import asyncio
from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.http import problems
from serving.http.metrics import Metrics
from serving.http.pace import Pace

RANK_PATH: Final = "/v1/rank"
TIMEOUT_HEADER: Final = "X-Timeout-Ms"
MOST_TIMEOUT_MS: Final = 60_000
TIME_USED: Final = 0.8
"""Share of a request's time that those before it and it itself may take of the model: the rest is the way."""


def timeout_of(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """Seconds that the header X-Timeout-Ms gives.

    Returns:
        None without the header.

    Raises:
        ValueError: It is no integer from 1 to `MOST_TIMEOUT_MS`.
    """
    value = next((value for name, value in headers if name == b"x-timeout-ms"), None)
    if value is None:
        return None
    if not (value.isdigit() and len(value) <= 5 and 1 <= int(value) <= MOST_TIMEOUT_MS):
        raise ValueError(f"{TIMEOUT_HEADER}: expected an integer from 1 to {MOST_TIMEOUT_MS}")
    return int(value) / 1000


class Admission:
    """Counts the ranking requests that are worked on or wait in this process.

    Args:
        max_waiting: How many there may be.
        metrics: Counts those that are turned away.
        pace: How long the model takes for one.
    """

    def __init__(self, max_waiting: int, metrics: Metrics, pace: Pace) -> None:
        self.inside = 0
        self.detail = (
            f"expected at most {max_waiting} requests to wait, and no more than can be answered in time; "
            "come back after the Retry-After"
        )
        self._most = max_waiting
        self._metrics = metrics
        self._pace = pace

    def full(self, timeout_s: float | None) -> bool:
        """Whether one more would be too many: at all, or to be answered in time behind those inside."""
        if timeout_s is None or not self.inside:
            return self.inside >= self._most
        in_time = (self.inside + 1) * self._pace.request_s <= timeout_s * TIME_USED
        return self.inside >= self._most or not in_time

    def turned_away(self) -> None:
        """Count one that was too many."""
        self._metrics.reject("overloaded")

    def answered(self, status: int) -> None:
        """Count an answer that the middlewares did not see."""
        self._metrics.request(RANK_PATH, status)


class AdmissionMiddleware:
    """Bounds the ranking requests inside, and notes until when each is of use.

    Past the bound the answer is 503 at once. `BoundedHttpProtocol` gives the same answer for less, where
    nothing about the connection is unusual.

    Sets `state.deadline` to the `perf_counter()` after which nobody waits for the answer, from the header
    X-Timeout-Ms; None without it.

    Args:
        app: What ranks.
        admission: The count.
    """

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self.app = app
        self._admission = admission
        self._beginning = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["path"] != RANK_PATH:
            await self.app(scope, receive, send)
            return
        state = scope["state"]
        try:
            timeout_s = timeout_of(scope["headers"])
        except ValueError as error:
            await problems.response(state["request_id"], "invalid-request", str(error))(scope, receive, send)
            return
        if self._admission.full(timeout_s):
            self._admission.turned_away()
            await problems.response(
                state["request_id"], "overloaded", self._admission.detail, headers=problems.RETRY_AFTER
            )(scope, receive, send)
            return
        state["deadline"] = None if timeout_s is None else state["started"] + timeout_s
        self._admission.inside += 1
        try:
            async with self._beginning:  # of many that come at once, refusals need not wait for all bodies
                await asyncio.sleep(0)
            await self.app(scope, receive, send)
        finally:
            self._admission.inside -= 1
