"""Admission control: which ranking requests are accepted.

A request is refused if what is ahead of it in the fair order (`fair_shares.py`) and its own candidates are
too many, or too many for its timeout. So a client whose requests are small is let in beside a flood of large
ones, which are ahead of each other and not of it. That is decided before its body is read, again when the
body has come, and, if it has far more candidates than its size let expect, once more when they are known.
"""

import asyncio
from collections.abc import Hashable
from time import perf_counter
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http import problems
from serving.http.auth import Headers, presented_key
from serving.http.bodies import Bodies
from serving.http.deadline import timeout_of
from serving.http.endpoints import RANK
from serving.http.fair_shares import FairShares, Ticket
from serving.http.metrics import Metrics
from serving.http.service_time import ServiceTime, cost_of

MODEL_FRACTION: Final = 0.8
"""Fraction of the timeout that the model may use; the rest is for parsing, Redis and the network."""
TOTAL_FACTOR: Final = 4
"""All requests in flight together may cost so many times as much as what one may have ahead of it."""
MOST_CANDIDATES: Final = 1_000
"""No request is estimated to have more."""
FIRST_BYTES: Final = 40.0
"""Bytes of a body by candidate, before any was read."""
UNDERESTIMATED: Final = 1.5
"""A request that costs so many times as much as was estimated has to find room again."""
NEWEST_WEIGHT: Final = 0.05
"""Weight of the newest body in the means of bytes and candidates."""


class Admission:
    """Counts the ranking requests that are in flight in this process.

    Args:
        max_waiting: How much may wait, as `service_time.cost_of` counts it.
        metrics: Counts refusals.
        service_time: How long the model takes.
        by_key: Whether requests with one API key are one client's; if not, those of one connection are.

    Attributes:
        detail: What a refusal says.
    """

    def __init__(
        self, max_waiting: int, metrics: Metrics, service_time: ServiceTime, *, by_key: bool = False
    ) -> None:
        self.detail = (
            f"expected at most {max_waiting} candidates to wait, and no more than can be answered in time; "
            "come back after the Retry-After"
        )
        self._max_waiting = max_waiting
        self._metrics = metrics
        self._service_time = service_time
        self._by_key = by_key
        self._shares = FairShares()
        self._mean_bytes, self._mean_candidates = FIRST_BYTES, 1.0

    @property
    def in_flight(self) -> int:
        """How many requests are worked on or wait."""
        return len(self._shares.tickets)

    def client_of(self, headers: Headers, connection: Hashable) -> Hashable:
        """Whose share a request counts to.

        Args:
            headers: Names in lower case, and values.
            connection: Identifies its connection.
        """
        return presented_key(headers) if self._by_key else connection

    def is_full(self, client: Hashable, headers: Headers, timeout_s: float) -> bool:
        """Whether to refuse one more request, whose body is not known yet.

        Args:
            client: Whose it is.
            headers: Names in lower case, and values.
            timeout_s: Of that request; `NO_TIMEOUT` if it has none.

        Returns:
            True if too much would be ahead of it, or so much that it could not be answered in time. A request
            is never refused for its time while no other is ahead.
        """
        length = next((value for name, value in headers if name == b"content-length"), b"0")
        return self._refuses(client, self._estimated_cost(int(length) if length.isdigit() else 0), timeout_s)

    def enter(self, client: Hashable, body_bytes: int, deadline: float) -> Ticket:
        """Accept a request whose body has come.

        Args:
            client: Whose it is.
            body_bytes: The body's size.
            deadline: See `deadline.py`.

        Raises:
            Problem: There is no room for it.
        """
        cost = self._estimated_cost(body_bytes)
        if self._refuses(client, cost, deadline - perf_counter()):
            raise self.refusal()
        return self._shares.enter(client, cost)

    def confirm(self, ticket: Ticket, body_bytes: int, candidates: int, deadline: float) -> None:
        """Correct what an accepted request costs, now that its candidates are known.

        Raises:
            Problem: There is no room for so many.
        """
        self._mean_bytes += NEWEST_WEIGHT * (body_bytes - self._mean_bytes)
        self._mean_candidates += NEWEST_WEIGHT * (candidates - self._mean_candidates)
        estimated, cost = ticket.cost, cost_of(candidates)
        self._shares.amend(ticket, cost)
        if cost <= UNDERESTIMATED * estimated:
            return
        if self._is_too_much(self._shares.ahead_of(ticket), cost, deadline - perf_counter()):
            raise self.refusal()

    def leave(self, ticket: Ticket) -> None:
        """Count a request as answered."""
        self._shares.leave(ticket)

    def refusal(self) -> problems.Problem:
        """Count a request that is refused because the service is full, and return its answer."""
        self.count_refusal()
        return problems.overloaded(self.detail)

    def count_refusal(self) -> None:
        """Count a request that was refused because the service is full."""
        self._metrics.reject("overloaded")

    def count_early_answer(self, status: int) -> None:
        """Count an answer that was given before the request reached the middlewares."""
        self._metrics.request(RANK.path, status)

    def count_late(self) -> None:
        """Count a request whose deadline passed before its body had come."""
        self._metrics.reject("deadline")

    def _estimated_cost(self, body_bytes: int) -> float:
        return cost_of(min(body_bytes * self._mean_candidates / self._mean_bytes, MOST_CANDIDATES))

    def _refuses(self, client: Hashable, cost: float, timeout_s: float) -> bool:
        if self._shares.cost and self._shares.cost + cost > TOTAL_FACTOR * self._max_waiting:
            return True
        return self._is_too_much(self._shares.ahead(self._shares.place(client, cost)), cost, timeout_s)

    def _is_too_much(self, ahead: float, cost: float, timeout_s: float) -> bool:
        if ahead <= 0:
            return False
        too_late = self._service_time.expected_s(ahead + cost) > timeout_s * MODEL_FRACTION
        return too_late or ahead + cost > self._max_waiting


class AdmissionMiddleware:
    """Refuses ranking requests while the service is full, and sets the deadlines of the others.

    The answer of a refusal is 503, at once. `BoundedHttpProtocol` gives the same answer at less cost, to
    requests that have nothing unusual about their connection. A request takes room only when its whole body
    has come, however long that takes.

    Sets `state.deadline`, see `serving/http/deadline.py`, as far as the headers tell it, and `state.ticket`.

    Args:
        app: What ranks.
        admission: Counts the requests in flight.
        bodies: Reads their bodies.
    """

    def __init__(self, app: ASGIApp, admission: Admission, bodies: Bodies) -> None:
        self.app = app
        self._admission = admission
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["path"] != RANK.path:
            await self.app(scope, receive, send)
            return
        try:
            ticket, body = await self._admit(scope, receive)
        except problems.Problem as problem:
            await problem.response(scope["state"]["request_id"])(scope, receive, send)
            return
        except ClientDisconnect:
            return
        scope["state"]["ticket"] = ticket
        try:
            # When many requests arrive at once, the refusals among them are answered before the bodies of the
            # accepted ones are parsed.
            await asyncio.sleep(0)
            await self.app(scope, _replaying(body, receive), send)
        finally:
            self._admission.leave(ticket)

    async def _admit(self, scope: Scope, receive: Receive) -> tuple[Ticket, bytes]:
        """Find room for a request, and read its body.

        Raises:
            Problem: Its head or its body is beyond the limits, or there is no room, or it came too late.
            ClientDisconnect: The client has left.
        """
        state, headers = scope["state"], scope["headers"]
        try:
            timeout_s = timeout_of(headers)
        except ValueError as error:
            raise problems.Problem("invalid-request", str(error)) from error
        client = self._admission.client_of(headers, state.get("connection"))
        if self._admission.is_full(client, headers, timeout_s):
            raise self._admission.refusal()
        state["deadline"] = deadline = state["started"] + timeout_s
        body = await self._bodies.read(receive)
        if perf_counter() > deadline:
            self._admission.count_late()
            raise problems.deadline_passed("the body came after the deadline")
        return self._admission.enter(client, len(body), deadline), body


def _replaying(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the whole body first."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
