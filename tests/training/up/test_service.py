import socket
import sys
from pathlib import Path

import pytest

from ranker.errors import UserError, WatchnextError
from training.up.child import Child
from training.up.service import free_port, ready_version, wait_until_ready


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port {port}: expected a free port, found: .*in use"):
            free_port(port)
    assert free_port(0) > 0


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    child = Child("service", [sys.executable, "-c", "print('no bundle')"], tmp_path / "service.log")
    child.start()
    url = "http://127.0.0.1:9"
    with pytest.raises(WatchnextError, match="the service did not start; it said: no bundle"):
        wait_until_ready(child, url)
    assert ready_version(url) is None
