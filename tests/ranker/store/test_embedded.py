import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
import redis

from ranker.errors import StoreError
from ranker.store.embedded import embedded_server

USER = """
import sys
from pathlib import Path
import redis
from ranker.store.embedded import embedded_server
with embedded_server(Path(sys.argv[1])) as url, redis.Redis.from_url(url) as client:
    print(client.info("server")["process_id"], flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def user_process(home):
    """Another process that uses the server until its standard input closes."""
    arguments = [sys.executable, "-c", USER, str(home)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def server_pid(url):
    with redis.Redis.from_url(url) as client:
        return client.info("server")["process_id"]


def wait_for_end(pid):
    for _ in range(3000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    pytest.fail(f"the server {pid} still runs")


def wait_for_silence(client):
    with contextlib.suppress(redis.ConnectionError):
        while client.ping():
            pass


def test_what_was_written_is_found_by_the_next_user_after_the_server_stopped(tmp_path):
    with embedded_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        client.set("key", "value")
        pid = server_pid(url)
    wait_for_end(pid)

    with embedded_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.get("key") == b"value"
        assert server_pid(url) != pid


def test_users_share_one_server_until_the_last_leaves(tmp_path):
    with embedded_server(tmp_path) as first_url:
        with embedded_server(tmp_path) as second_url:
            assert second_url == first_url
        pid = server_pid(first_url)
        with embedded_server(tmp_path) as third_url:
            assert server_pid(third_url) == pid
    wait_for_end(pid)


def test_users_who_come_in_quick_succession_always_find_a_server(tmp_path):
    for count in range(20):
        with embedded_server(tmp_path) as url, redis.Redis.from_url(url) as client:
            assert client.incr("visits") == count + 1


def test_processes_that_start_at_once_get_the_same_server(tmp_path):
    arguments = [sys.executable, "-c", USER, str(tmp_path)]
    users = [
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    try:
        pids = {int(user.stdout.readline()) for user in users}
    finally:
        for user in users:
            user.communicate()
    assert len(pids) == 1
    wait_for_end(pids.pop())


def test_the_server_stops_after_its_only_user_was_killed(tmp_path):
    with user_process(tmp_path) as user:
        pid = int(user.stdout.readline())
        user.send_signal(signal.SIGKILL)
        wait_for_end(pid)


def test_a_killed_user_does_not_take_the_server_from_the_others(tmp_path):
    with embedded_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        with user_process(tmp_path) as user:
            assert int(user.stdout.readline()) == server_pid(url)
            client.set("key", "value")
            user.send_signal(signal.SIGKILL)
            user.wait()
        assert client.get("key") == b"value"


def test_a_killed_server_is_replaced_for_the_next_user(tmp_path):
    with embedded_server(tmp_path) as url:
        with redis.Redis.from_url(url) as client:
            client.set("key", "value")
            os.kill(server_pid(url), signal.SIGKILL)
            wait_for_silence(client)
        with embedded_server(tmp_path) as fresh_url, redis.Redis.from_url(fresh_url) as client:
            assert client.get("key") == b"value"
            fresh_pid = server_pid(fresh_url)
    wait_for_end(fresh_pid)


def test_a_folder_whose_path_is_longer_than_a_socket_may_have(tmp_path):
    home = tmp_path / ("long" * 30) / "with a space"
    with embedded_server(home) as url, redis.Redis.from_url(url) as client:
        assert client.ping()


def test_nothing_is_left_in_the_temporary_folder(tmp_path):
    with embedded_server(tmp_path) as url:
        socket = url.removeprefix("unix://")
        assert os.path.exists(socket)
        pid = server_pid(url)
    wait_for_end(pid)
    with embedded_server(tmp_path):  # waits until the keeper of the first server is done
        assert not os.path.exists(os.path.dirname(socket))


def test_a_home_that_is_no_folder_is_named(tmp_path):
    home = tmp_path / "file"
    home.write_text("")
    with pytest.raises(StoreError, match=r"file/redis: expected a folder .* --redis-url"):
        embedded_server(home).__enter__()


def test_a_server_that_cannot_read_its_data_says_so(tmp_path):
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "appendonly.aof").write_bytes(b"this is no log of commands")
    with pytest.raises(StoreError, match=r"expected the private Redis server to start.*redis\.log"):
        embedded_server(tmp_path).__enter__()
