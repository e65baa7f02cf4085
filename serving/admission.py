"""Which ranking requests are taken on, decided before their bodies are read."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from serving import problems
from serving.metrics import Metrics

RANK_PATH: Final = "/v1/rank"
TIMEOUT_HEADER: Final = "X-Timeout-Ms"
MOST_TIMEOUT_MS: Final = 60_000


class Admission:
    """Counts the ranking requests that are worked on or wait in this process.

    Args:
        max_waiting: How many there may be.
        metrics: Counts those that are turned away.
    """

    def __init__(self, max_waiting: int, metrics: Metrics) -> None:
        self.inside = 0
        self.detail = f"expected at most {max_waiting} requests to wait; come back after the Retry-After"
        self._most = max_waiting
        self._metrics = metrics

    @property
    def full(self) -> bool:
        """Whether one more would be too many."""
        return self.inside >= self._most

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["path"] != RANK_PATH:
            await self.app(scope, receive, send)
            return
        state = scope["state"]
        if self._admission.full:
            self._admission.turned_away()
            await problems.response(
                state["request_id"], "overloaded", self._admission.detail, headers=problems.RETRY_AFTER
            )(scope, receive, send)
            return
        timeout = next((value for name, value in scope["headers"] if name == b"x-timeout-ms"), None)
        state["deadline"] = None
        if timeout is not None:
            if not (timeout.isdigit() and len(timeout) <= 5 and 1 <= int(timeout) <= MOST_TIMEOUT_MS):
                detail = f"{TIMEOUT_HEADER}: expected an integer from 1 to {MOST_TIMEOUT_MS}"
                await problems.response(state["request_id"], "invalid-request", detail)(scope, receive, send)
                return
            state["deadline"] = state["started"] + int(timeout) / 1000
        self._admission.inside += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._admission.inside -= 1
