import signal
import socket
import subprocess

import httpx
import pytest

from tests.serving.service_process import SERVE, service_process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_in_good_order(registry, redis_url, number):
    with service_process("--registry", registry, "--redis-url", redis_url) as (process, url):
        assert httpx.get(f"{url}/readyz").status_code == 200
        process.send_signal(number)
        assert process.wait() == 0


def refusal(*arguments):
    """Run the command to its end; give its status and what it said on standard error."""
    ended = subprocess.run([*SERVE, *arguments], stderr=subprocess.PIPE, text=True)
    return ended.returncode, ended.stderr.splitlines()


def test_a_registry_without_a_bundle_is_one_line_and_status_2(tmp_path, redis_url):
    status, lines = refusal("--registry", str(tmp_path), "--port", "0", "--redis-url", redis_url)
    assert status == 2
    assert len(lines) == 1
    assert f"{tmp_path}: expected a registry with a published bundle" in lines[0]


def test_a_port_in_use_is_one_line_and_status_2(registry):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, lines = refusal("--registry", registry, "--port", port)
    assert status == 2
    assert len(lines) == 1
    assert f"--port {port}: expected a free address, found Address already in use" in lines[0]
