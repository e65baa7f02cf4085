"""An id for every request, and the trace that it belongs to: in its state, its log lines and its answer."""

from time import perf_counter
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.trace_context import RESPONSE_HEADER, TraceContext
from serving.logs import request_fields

HEADER = "X-Request-ID"


class RequestIdMiddleware:
    """Sets a new `state.request_id`, and `state.started`, the `perf_counter()` of the arrival.

    A server that knows better when a request came has set `state.started` before.

    An id that the client sends is not used: ids in our log must be unique and free of injected text. A valid
    `traceparent` is: it is of a fixed form. Every log line of the request has both.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid4().hex
        trace = TraceContext.of(scope["headers"])
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state.setdefault("started", perf_counter())
        fields = {"request_id": request_id}
        if trace is not None:
            fields |= {"trace_id": trace.trace_id, "span_id": trace.span_id, "parent_id": trace.parent_id}

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[HEADER] = request_id
                if trace is not None:
                    headers["traceparent"] = headers[RESPONSE_HEADER] = trace.header
            await send(message)

        before = request_fields.set(fields)
        try:
            await self.app(scope, receive, send_with_id)
        finally:
            request_fields.reset(before)
