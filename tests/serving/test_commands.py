import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest
import torch
from typer.testing import CliRunner

from ranker.errors import UserError
from serving.commands import app
from serving.http.auth import ApiKey, hashed
from serving.http.key_file import append_key, read_keys
from serving.http.roles import Role
from tests.serving.asking import rank
from tests.serving.event_log import impressions
from tests.serving.service_process import SERVE, service_process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_in_good_order(registry, redis_url, number):
    with service_process("--registry", registry, "--redis-url", redis_url) as (process, url):
        assert httpx.get(f"{url}/readyz").status_code == 200
        process.send_signal(number)
        assert process.wait(60) == 0


def test_the_options_of_impressions_reach_the_service(registry, server):
    options = (
        "--impressions",
        "sync",
        "--impressions-seen",
        "shown",
        "--log-predictions",
        "--max-events",
        "1",
    )
    body = {"user": {"id": "u"}, "candidates": [{"id": "a"}]}
    with (
        service_process("--registry", registry, "--redis-url", server.url, *options) as (_, url),
        httpx.Client(base_url=url) as service,
        server.client() as store,
    ):
        store.flushall()
        first, second = rank(service, body), rank(service, body)
        [impression] = impressions(store)
    assert (first["degraded"], second["degraded"]) == ([], ["impressions"])
    assert impression.header.reported
    assert len(impression.header.predictions[0]) == 3


def refusal(*arguments):
    """Run the command to its end; give its status and the lines of standard error."""
    ended = subprocess.run([*SERVE, *arguments], stderr=subprocess.PIPE, text=True, timeout=120)
    return ended.returncode, ended.stderr.splitlines()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_registry_without_a_bundle_is_one_line_and_status_2(tmp_path, redis_url, workers):
    status, lines = refusal(
        "--registry", str(tmp_path), "--port", "0", "--redis-url", redis_url, "--workers", workers
    )
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


def run(*arguments):
    """Run a command in this process; a mistake is raised as it is."""
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_keys_only_this_machine_is_listened_to(host):
    with pytest.raises(UserError, match=rf"--host {host}: expected an address of this machine alone"):
        run("serve", "--registry", "r", "--redis-url", "redis://127.0.0.1:1", "--host", host, "--port", "0")


def test_with_keys_every_address_may_be_listened_to_and_strangers_are_turned_away(
    registry, redis_url, tmp_path
):
    append_key(tmp_path / "keys.yaml", ApiKey(name="feed", role=Role.RANK, sha256=hashed("a key")))
    keys = ("--api-keys", str(tmp_path / "keys.yaml"))
    with service_process("--registry", registry, "--redis-url", redis_url, "--host", "0.0.0.0", *keys) as (
        _,
        url,
    ):
        url = url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/v1/model").status_code == 401
        assert httpx.get(f"{url}/v1/model", headers={"Authorization": "Bearer a key"}).status_code == 200


def test_a_cuda_device_has_one_owner(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match="--workers 2: expected 1 with a CUDA device"):
        run("serve", "--registry", "r", "--workers", "2", "--port", "0")


def test_a_new_key_is_printed_once_with_the_line_that_the_service_needs():
    secret, line = run("keys", "new", "--name", "feed", "--role", "write").output.splitlines()
    assert line == f"  - {{name: feed, role: write, sha256: {hashed(secret)}}}"


def test_a_new_key_is_added_to_a_file_that_does_not_hold_the_key_itself(tmp_path):
    path = tmp_path / "keys.yaml"
    secrets = [
        run("keys", "new", "--name", name, "--role", "rank", "--file", str(path)).output.strip()
        for name in ("feed", "shop")
    ]
    assert [key.sha256 for key in read_keys(path)] == [hashed(secret) for secret in secrets]
    assert not any(secret in path.read_text() for secret in secrets)


def test_a_name_that_cannot_be_written_in_the_file_is_a_users_error():
    with pytest.raises(UserError, match="--name: expected 1 to 64 letters"):
        run("keys", "new", "--name", "a b", "--role", "rank")


def test_the_keys_command_is_part_of_watchnext():
    ended = subprocess.run(
        [sys.executable, "-m", "watchnext", "keys", "new", "--name", "x", "--role", "rank"],
        capture_output=True,
        text=True,
    )
    assert ended.stdout.startswith("wn_")


def test_a_hangup_does_not_end_a_service_with_a_file_of_keys(registry, redis_url, tmp_path):
    append_key(tmp_path / "keys.yaml", ApiKey(name="feed", role=Role.RANK, sha256=hashed("a key")))
    keys = ("--api-keys", str(tmp_path / "keys.yaml"))
    with service_process("--registry", registry, "--redis-url", redis_url, *keys) as (process, url):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert httpx.get(f"{url}/healthz").status_code == 200
        assert process.poll() is None


def test_a_file_without_keys_is_a_users_error(tmp_path):
    (tmp_path / "keys.yaml").write_text("keys: []\n")
    with pytest.raises(UserError, match=r"keys\.yaml: expected at least one key, found none"):
        run("serve", "--registry", "r", "--port", "0", "--api-keys", str(tmp_path / "keys.yaml"))
