"""What `serving/http/protocol.py` builds on is there in the installed uvicorn."""

import inspect

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol


def test_the_protocol_has_what_early_refusals_need() -> None:
    assert STATUS_LINE[503].startswith(b"HTTP/1.1 503")
    for name in ("_unset_keepalive_if_required", "timeout_keep_alive_handler", "send_400_response"):
        assert callable(getattr(HttpToolsProtocol, name))
    begins = inspect.getsource(HttpToolsProtocol.__init__)
    for attribute in ("cycle", "expect_100_continue", "timeout_keep_alive_task", "timeout_keep_alive"):
        assert f"self.{attribute}" in begins
