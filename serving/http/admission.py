"""Admission control: which ranking requests are accepted, decided before their bodies are read."""

import asyncio
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.http import problems
from serving.http.deadline import timeout_of
from serving.http.endpoints import RANK
from serving.http.metrics import Metrics
from serving.http.service_time import ServiceTime

MODEL_FRACTION: Final = 0.8
"""Fraction of the timeout that the model may use; the rest is for parsing, Redis and the network."""


class Admission:
    """Counts the ranking requests that are in flight in this process.

    Args:
        max_waiting: How many there may be.
        metrics: Counts refusals.
        service_time: How long the model takes for a request.

    Attributes:
        in_flight: Requests that are worked on or wait.
        detail: What a refusal says.
    """

    def __init__(self, max_waiting: int, metrics: Metrics, service_time: ServiceTime) -> None:
        self.in_flight = 0
        self.detail = (
            f"expected at most {max_waiting} requests to wait, and no more than can be answered in time; "
            "come back after the Retry-After"
        )
        self._max_waiting = max_waiting
        self._metrics = metrics
        self._service_time = service_time

    def is_full(self, timeout_s: float) -> bool:
        """Whether to refuse one more request.

        Args:
            timeout_s: Of that request; `NO_TIMEOUT` if it has none.

        Returns:
            True if too many are in flight, or so many that it could not be answered in time. A request is
            never refused for its time while no other is in flight.
        """
        if self.in_flight >= self._max_waiting:
            return True
        model_s = (self.in_flight + 1) * self._service_time.request_s
        return self.in_flight > 0 and model_s > timeout_s * MODEL_FRACTION

    def count_refusal(self) -> None:
        """Count a request that was refused because the service is full."""
        self._metrics.reject("overloaded")

    def count_early_answer(self, status: int) -> None:
        """Count an answer that was given before the request reached the middlewares."""
        self._metrics.request(RANK.path, status)


class AdmissionMiddleware:
    """Refuses ranking requests while the service is full, and sets the deadlines of the others.

    The answer of a refusal is 503, at once. `BoundedHttpProtocol` gives the same answer at less cost, to
    requests that have nothing unusual about their connection.

    Sets `state.deadline`, see `serving/http/deadline.py`, as far as the headers tell it.

    Args:
        app: What ranks.
        admission: Counts the requests in flight.
    """

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self.app = app
        self._admission = admission
        self._starting = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["path"] != RANK.path:
            await self.app(scope, receive, send)
            return
        state = scope["state"]
        try:
            timeout_s = timeout_of(scope["headers"])
        except ValueError as error:
            await problems.response(state["request_id"], "invalid-request", str(error))(scope, receive, send)
            return
        if self._admission.is_full(timeout_s):
            self._admission.count_refusal()
            await problems.response(
                state["request_id"], "overloaded", self._admission.detail, headers=problems.RETRY_AFTER
            )(scope, receive, send)
            return
        state["deadline"] = state["started"] + timeout_s
        self._admission.in_flight += 1
        try:
            # When many requests arrive at once, start one per turn of the event loop: the refusals among them
            # are then answered before the bodies of the accepted ones are read.
            async with self._starting:
                await asyncio.sleep(0)
            await self.app(scope, receive, send)
        finally:
            self._admission.in_flight -= 1
