import json
import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from serving.http.auth import ApiKey, hashed
from serving.http.key_file import append_key, line
from serving.http.roles import Role
from tests.serving.service_process import SERVE, killed_after, service_process
from tests.serving.waiting import join, wait_until

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc, of Linux alone")

BODY = {"user": {"id": "u"}, "candidates": [{"id": str(i)} for i in range(300)]}


def children(process):
    """The processes that serve, by their ids."""
    pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in pids if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]


@pytest.fixture
def service(registry, redis_url):
    with service_process("--registry", registry, "--redis-url", redis_url, "--workers", "2") as started:
        yield started


def counted(url, pattern):
    return float(re.search(pattern, httpx.get(f"{url}/metrics", timeout=60).text)[1])


def processes_that_rank(url):
    """None while a process starts: prometheus_client fails on a file that another process is creating."""
    answer = httpx.get(f"{url}/metrics", timeout=60)
    if answer.status_code != 200:
        return None
    return float(re.search(r"model_processes{.*} (\S+)", answer.text)[1])


def test_connections_are_shared_out_in_turn_and_counted_together(service):
    process, url = service
    clients = [httpx.Client(base_url=url, timeout=60) for _ in range(4)]
    for client in clients:
        for _ in range(3):
            assert client.post("/v1/rank", json=BODY).status_code == 200
    assert counted(url, r'requests_total{path="/v1/rank",status="200"} (\S+)') == 12
    assert counted(url, r"model_processes{.*} (\S+)") == 2
    accepted = [len(established(pid)) for pid in children(process)]
    for client in clients:
        client.close()
    assert accepted == [2, 2]


def established(pid):
    """The sockets of a process that are TCP connections to clients."""
    inodes = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return [row for row in rows if row[3] == "01" and f"socket:[{row[9]}]" in inodes]


def test_a_process_that_is_killed_is_replaced_and_the_other_serves_on(service):
    process, url = service
    victim, other = children(process)
    os.kill(victim, signal.SIGKILL)
    with httpx.Client(base_url=url, timeout=60) as client:
        wait_until(
            lambda: len(set(children(process)) - {victim}) == 2, "a new process in place of the killed one"
        )
        assert other in children(process)
        for _ in range(5):
            assert client.post("/v1/rank", json=BODY).status_code == 200
        wait_until(lambda: processes_that_rank(url) == 2, "two processes that rank")
    assert process.poll() is None


@pytest.mark.parametrize("workers", ["1", "2"])
def test_requests_in_flight_are_finished_when_the_service_is_told_to_stop(registry, redis_url, workers):
    answers, failures, busy = Counter(), [], threading.Semaphore(0)

    def ask(url):
        with httpx.Client(base_url=url, timeout=60) as client:
            while True:
                try:
                    answers[client.post("/v1/rank", json=BODY).status_code] += 1
                    busy.release()
                except httpx.ConnectError:  # it takes no more connections
                    return
                except httpx.HTTPError as error:
                    failures.append(error)
                    return

    with service_process("--registry", registry, "--redis-url", redis_url, "--workers", workers) as (
        process,
        url,
    ):
        threads = [threading.Thread(target=ask, args=(url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(40):
            assert busy.acquire(timeout=60)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            join(thread)
        assert process.wait(60) == 0
    assert failures == []
    assert set(answers) == {200}


def test_processes_end_with_their_parent_however_it_ends(registry, redis_url, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where what a killed parent leaves behind is cleared away
    with service_process("--registry", registry, "--redis-url", redis_url, "--workers", "2") as (process, _):
        orphans = children(process)
        assert len(orphans) == 2
        process.kill()
        process.wait(60)
        wait_until(lambda: not any(is_alive(pid) for pid in orphans), "the processes to end")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_service_says_once_where_it_serves_when_all_do(registry, redis_url):
    arguments = ["--registry", registry, "--redis-url", redis_url, "--workers", "2", "--port", "0"]
    with (
        subprocess.Popen([*SERVE, *arguments], stderr=subprocess.PIPE, text=True) as process,
        killed_after(120, process),
    ):
        log_lines = []
        for line in process.stderr:
            log_lines.append(line)
            if "serving small-1" in line:
                process.terminate()
        process.wait(60)
    assert sum("serving small-1" in line for line in log_lines) == 1
    assert sum("NO API KEYS" in line for line in log_lines) == 1
    assert process.returncode == 0


def test_a_key_that_is_revoked_is_refused_by_every_process_and_a_new_one_is_let_in(
    registry, redis_url, tmp_path
):
    path = tmp_path / "keys.yaml"
    first, second = (ApiKey(name=name, role=Role.RANK, sha256=hashed(name)) for name in ("first", "second"))
    append_key(path, first)
    arguments = ["--registry", registry, "--redis-url", redis_url, "--workers", "2", "--api-keys", str(path)]
    with service_process(*arguments) as (process, url):
        clients = [httpx.Client(base_url=url, timeout=60) for _ in range(4)]  # two of each process

        def statuses(name):
            headers = {"Authorization": f"Bearer {name}"}
            return [client.get("/v1/model", headers=headers).status_code for client in clients]

        assert (statuses("first"), statuses("second")) == ([200] * 4, [401] * 4)
        path.write_text("no: [keys")
        process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert statuses("first") == [200] * 4  # a file that does not parse leaves the keys
        path.write_text(f"keys:\n  {line(second)}\n")
        wait_until(lambda: statuses("first") == [401] * 4, "the old key to be refused by both processes")
        assert statuses("second") == [200] * 4
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        assert len(children(process)) == 2
        assert statuses("second") == [200] * 4
        for client in clients:
            client.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_line_of_the_log_is_json_if_so_told(registry, redis_url, workers):
    arguments = ["--registry", registry, "--redis-url", redis_url, "--workers", workers, "--port", "0"]
    arguments += ["--log-format", "json", "--request-log"]
    with (
        subprocess.Popen([*SERVE, *arguments], stderr=subprocess.PIPE, text=True) as process,
        killed_after(120, process),
    ):
        lines = []
        for text in process.stderr:
            lines.append(json.loads(text))
            if found := re.search(r"serving \S+ at (\S+)", lines[-1]["message"]):
                assert httpx.get(f"{found[1]}/healthz", timeout=60).status_code == 200
                process.terminate()
        process.wait(60)
    assert process.returncode == 0
    [answered] = [found for found in lines if found.get("path") == "/healthz"]
    assert (answered["method"], answered["status"]) == ("GET", 200)
