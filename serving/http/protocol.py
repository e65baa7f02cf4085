"""HTTP/1.1 with limits: on the size and the time of heads and of what follows an answer, and cheap refusals.

uvicorn's protocol on httptools bounds neither the size nor the time of a head, that is of request line and
headers, nor of the trailers of a chunked body, which it takes for headers. And it starts a task for each
request: together with the application's middlewares that takes 100 us to answer that the service is
overloaded, or 30 % of a core at 3,000 refusals a second. Here it takes 25 us.
"""

from asyncio import BaseTransport, TimerHandle
from collections.abc import Mapping
from time import perf_counter
from typing import Any, ClassVar, Final
from uuid import uuid4

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.http.admission import Admission
from serving.http.deadline import timeout_of
from serving.http.endpoints import RANK
from serving.http.problem_documents import MEDIA_TYPE, document
from serving.http.problems import RETRY_AFTER
from serving.http.reading_gate import GatedFlow, GatedInput
from serving.http.request_id import HEADER
from serving.http.unread import unread_s

MAX_HEAD_BYTES: Final = 16 * 1024
MAX_HEADERS: Final = 100
HEAD_TIMEOUT_S: Final = 10.0
REST_TIMEOUT_S: Final = 10.0
"""How long the rest of a request may take to come that was answered before."""
REFUSED_PAUSE_S: Final = 0.05
"""How long nothing is read from a connection whose request was refused: clients that ask again at once, and
not after the Retry-After, would otherwise take most of the event loop's time."""
MAX_REST_BYTES: Final = 4 * 2**20
"""What may come of it; so a client that was refused early can go on with its connection."""
_CLOSE: Final = {"Connection": "close"}
_RANK_URL: Final = RANK.path.encode()
_NO_REQUEST_ID: Final = "0" * 32
"""Placeholder in the prepared refusal; a request's id has the same length."""
_TOO_LARGE: Final = f"expected a head of at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers"


class _RefusedError(Exception):
    """Stops the parser."""


def bounded_protocol(admission: Admission) -> type["BoundedHttpProtocol"]:
    """Make the protocol of a server whose ranking requests are counted by `admission`."""

    class Protocol(BoundedHttpProtocol):
        _admission = admission
        _refusal = _answer(503, "overloaded", admission.detail, _NO_REQUEST_ID, RETRY_AFTER)

    return Protocol


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection.

    An `Upgrade` is ignored, as RFC 9110 allows: the request is answered in HTTP/1.1. The parser cannot be
    told so and would skip the body; so the head is given to a new one, without the header.
    """

    _admission: ClassVar[Admission]
    _refusal: ClassVar[bytes]
    flow: GatedFlow

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refused = False
        self._in_head = True
        self._in_message = False
        self._silent_bytes = 0
        self._counted_bytes = 0
        self._header_count = 0
        self._rest_bytes = 0
        self._head_again: bytes | None = None
        self._too_large = False
        self._malformation = "expected a request of HTTP/1.1"
        self._timer: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin to wait for the first head, for a bounded time."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._input = GatedInput(self.loop, self.transport, lambda: not self.pipeline, self._feed)
        self.flow = self._input.flow
        self._close_after(HEAD_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_timer()
        self._input.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, a part at a time."""
        self._input.add(data)

    def on_message_begin(self) -> None:
        """Start the time of a head; on a connection that was used before, it begins here."""
        super().on_message_begin()
        self.scope["state"]["connection"] = id(self)
        self._in_head = self._in_message = True
        self._refused = False
        self._counted_bytes = self._header_count = self._rest_bytes = 0
        self._close_after(HEAD_TIMEOUT_S)

    def on_url(self, url: bytes) -> None:
        """Count the bytes of the URL."""
        self._count_head_bytes(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; trailers, which come after the body, are counted and ignored."""
        self._header_count += 1
        self._count_head_bytes(len(name) + len(value) + 4)
        if self._header_count > MAX_HEADERS:
            self._refuse_size()
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check a complete head, and refuse the request if the service is full."""
        if self.parser.should_upgrade():
            self._head_again = self._without_upgrade()
            return
        self._in_head = False
        self._silent_bytes = 0
        self._stop_timer()
        self._check_host()
        waited_s = unread_s(self.transport)
        self.scope["state"]["started"] = perf_counter() - waited_s
        self._refused = self.url == _RANK_URL and self._is_full(waited_s) and self._can_answer_now()
        if self._refused:
            self._admission.count_refusal()
            self._admission.count_early_answer(503)
            self.transport.write(self._refusal.replace(_NO_REQUEST_ID.encode(), uuid4().hex.encode()))
            self._close_after(REST_TIMEOUT_S)
            self._input.pause(REFUSED_PAUSE_S)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Ignore the body of a request that was refused."""
        self._silent_bytes = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect a head next."""
        if self._head_again is not None:
            return
        self._in_message = False
        self._stop_timer()
        if self._refused:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            super().on_message_complete()
        self._in_head = True
        self._silent_bytes = 0

    def on_response_complete(self) -> None:
        """Bound the time of what is left of a request that was answered early; pause after a refusal."""
        refused = self.cycle.scope["state"].get("status") == 503
        super().on_response_complete()
        if refused and not self.transport.is_closing():
            self._input.pause(REFUSED_PAUSE_S)
        still_comes = self._in_message and not self._in_head and self.cycle.response_complete
        if still_comes and not self.transport.is_closing():
            self._close_after(REST_TIMEOUT_S)

    def send_400_response(self, msg: str) -> None:
        """Answer an invalid request with a problem document, unless it has an answer, and hang up."""
        if self._in_head or not self._has_answer():
            status, kind, detail = 400, "malformed", self._malformation
            if self._too_large:
                status, kind, detail = 431, "headers-too-large", _TOO_LARGE
            self.transport.write(_answer(status, kind, detail, uuid4().hex, _CLOSE))
        self.transport.close()

    def _feed(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._silent_bytes += len(data)  # the parser reports a header, or a chunk, only when it is complete
        try:
            if not self._give(data):
                return
        except httptools.HttpParserError:
            self.send_400_response("")
            return
        if self._silent_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._too_large = True
            self.send_400_response("")

    def _give(self, data: bytes) -> bool:
        """Give bytes to the parser; return False if the connection was closed over it."""
        if self._in_message and not self._in_head and self._has_answer():
            self._rest_bytes += len(data)
            if self._rest_bytes > MAX_REST_BYTES:
                self.transport.close()
                return False
        while True:
            rest = b""
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                rest = data[upgrade.args[0] :]
            if self._head_again is None:
                return True
            data, self._head_again = self._head_again + rest, None
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _without_upgrade(self) -> bytes:
        """The head that was read, without the header that asks for another protocol."""
        if self.parser.get_method() == b"CONNECT":
            self._malformation = "expected another method than CONNECT"
            raise _RefusedError
        first = b"%b %b HTTP/%b" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
        )
        kept = [b"%b: %b" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([first, *kept, b"", b""])

    def _check_host(self) -> None:
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            self._in_head = True
            self._malformation = f"expected one Host, found {hosts}"
            raise _RefusedError

    def _count_head_bytes(self, count: int) -> None:
        """Count bytes of the URL, of headers and of trailers."""
        self._counted_bytes += count
        if self._counted_bytes > MAX_HEAD_BYTES:
            self._refuse_size()

    def _refuse_size(self) -> None:
        self._too_large = True
        raise _RefusedError

    def _has_answer(self) -> bool:
        """Whether the request that is being read was answered."""
        return self._refused or (self.cycle is not None and self.cycle.response_started)

    def _is_full(self, waited_s: float) -> bool:
        client = self._admission.client_of(self.headers, id(self))
        try:
            return self._admission.is_full(client, self.headers, timeout_of(self.headers) - waited_s)
        except ValueError:
            return False  # AdmissionMiddleware answers what is wrong

    def _can_answer_now(self) -> bool:
        """Whether the refusal would be the next and only answer expected on this connection."""
        return (
            (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and not self.expect_100_continue
            and self.parser.should_keep_alive()
        )

    def _close_after(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _answer(status: int, kind: str, detail: str, request_id: str, headers: Mapping[str, str]) -> bytes:
    body = document(request_id, kind, detail)
    all_headers = {
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(body)),
        HEADER: request_id,
        **headers,
    }
    head = "".join(f"{name.lower()}: {value}\r\n" for name, value in all_headers.items())
    return STATUS_LINE[status] + head.encode() + b"\r\n" + body
