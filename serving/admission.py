"""Which ranking requests are taken on, decided before their bodies are read."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from serving import problems
from serving.metrics import Metrics

RANK_PATH: Final = "/v1/rank"
TIMEOUT_HEADER: Final = "X-Timeout-Ms"
MOST_TIMEOUT_MS: Final = 60_000
_NO_REQUEST: Final = "0" * 32
"""Stands in the prepared answer for the request's id, which is as long."""


class AdmissionMiddleware:
    """Bounds the ranking requests that are worked on or wait, and notes until when each is of use.

    Past the bound the answer is 503 at once. It was prepared when the service started, for a service that
    is asked ten times what it can do must not spend its time on saying no.

    Sets `state.deadline` to the `perf_counter()` after which nobody waits for the answer, from the header
    X-Timeout-Ms; None without it.

    Args:
        app: What ranks.
        max_waiting: Requests that may be inside.
        metrics: Counts those that were turned away.
    """

    def __init__(self, app: ASGIApp, max_waiting: int, metrics: Metrics) -> None:
        self.app = app
        self._most = max_waiting
        self._inside = 0
        self._metrics = metrics
        detail = f"expected at most {max_waiting} requests to wait; come back after the time in Retry-After"
        self._overloaded = problems.document(_NO_REQUEST, "overloaded", detail)
        self._headers = [
            (b"content-type", problems.MEDIA_TYPE.encode()),
            (b"content-length", str(len(self._overloaded)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in problems.RETRY_AFTER.items()),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["path"] != RANK_PATH:
            await self.app(scope, receive, send)
            return
        if self._inside >= self._most:
            await self._turn_away(scope, send)
            return
        timeout = next((value for name, value in scope["headers"] if name == b"x-timeout-ms"), None)
        state = scope["state"]
        state["deadline"] = None
        if timeout is not None:
            if not (timeout.isdigit() and len(timeout) <= 5 and 1 <= int(timeout) <= MOST_TIMEOUT_MS):
                detail = f"{TIMEOUT_HEADER}: expected an integer from 1 to {MOST_TIMEOUT_MS}"
                answer = problems.response(state["request_id"], "invalid-request", detail)
                await answer(scope, receive, send)
                return
            state["deadline"] = state["started"] + int(timeout) / 1000
        self._inside += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._inside -= 1

    async def _turn_away(self, scope: Scope, send: Send) -> None:
        self._metrics.reject("overloaded")
        body = self._overloaded.replace(_NO_REQUEST.encode(), scope["state"]["request_id"].encode())
        await send({"type": "http.response.start", "status": 503, "headers": [*self._headers]})
        await send({"type": "http.response.body", "body": body})
