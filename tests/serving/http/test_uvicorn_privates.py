"""What `serving/http/protocol.py` builds on is there in the installed uvicorn."""

import inspect

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle


def test_the_protocol_has_what_early_refusals_need() -> None:
    assert STATUS_LINE[503].startswith(b"HTTP/1.1 503")
    for name in (
        *("_unset_keepalive_if_required", "timeout_keep_alive_handler", "send_400_response"),
        *("on_url", "on_header", "on_body", "on_response_complete"),
    ):
        assert callable(getattr(HttpToolsProtocol, name))
    begins = inspect.getsource(HttpToolsProtocol.__init__)
    for attribute in ("cycle", "expect_100_continue", "timeout_keep_alive_task", "timeout_keep_alive"):
        assert f"self.{attribute}" in begins


def test_flow_control_and_answers_have_what_the_protocol_looks_at() -> None:
    assert "self._transport" in inspect.getsource(FlowControl.__init__)
    assert "self.read_paused" in inspect.getsource(FlowControl.__init__)
    for attribute in ("response_started", "response_complete"):
        assert f"self.{attribute}" in inspect.getsource(RequestResponseCycle.__init__)
