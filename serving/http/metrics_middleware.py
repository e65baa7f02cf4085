"""Counting answers and timing them."""

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.endpoints import label_of
from serving.http.metrics import Metrics


class MetricsMiddleware:
    """Counts and times answers, and times the phase `respond` of a request whose `state.scored` is set.

    Sets `state.status`.

    Args:
        app: What answers.
        metrics: Counts.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = label_of(scope["path"])
        self._metrics.in_flight(path, 1)

        async def send_noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope["state"]["status"] = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_noting)
        finally:
            now = perf_counter()
            self._metrics.in_flight(path, -1)
            state = scope["state"]
            if "status" in state:
                self._metrics.request(path, state["status"], now - state["started"])
            if "scored" in state:
                self._metrics.phase("respond", now - state["scored"])
