import os
import subprocess
import sys

import pytest
import redis

from ranker.errors import StoreError
from ranker.private_redis.server import private_server, store_url
from tests.ranker.private_redis.server_process import USER, server_pid, wait_for_end


def test_a_given_url_starts_no_server(tmp_path):
    with store_url("redis://127.0.0.1:1/0", tmp_path) as url:
        assert url == "redis://127.0.0.1:1/0"
    assert list(tmp_path.iterdir()) == []


def test_without_a_url_the_private_server_is_used(tmp_path):
    with store_url(None, tmp_path) as url, private_server(tmp_path) as private_url:
        assert url == private_url


def test_what_was_written_is_found_by_the_next_user_after_the_server_stopped(tmp_path):
    with private_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        client.set("key", "value")
        pid = server_pid(url)
    wait_for_end(pid)

    with private_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.get("key") == b"value"
        assert server_pid(url) != pid


def test_users_share_one_server_until_the_last_leaves(tmp_path):
    with private_server(tmp_path) as first_url:
        with private_server(tmp_path) as second_url:
            assert second_url == first_url
        pid = server_pid(first_url)
        with private_server(tmp_path) as third_url:
            assert server_pid(third_url) == pid
    wait_for_end(pid)


def test_users_who_come_in_quick_succession_always_find_a_server(tmp_path):
    for count in range(20):
        with private_server(tmp_path) as url, redis.Redis.from_url(url) as client:
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
            user.communicate(timeout=60)
    assert len(pids) == 1
    wait_for_end(pids.pop())


def test_a_folder_whose_path_is_longer_than_a_socket_may_have(tmp_path):
    home = tmp_path / ("long" * 30) / "with a space"
    with private_server(home) as url, redis.Redis.from_url(url) as client:
        assert client.ping()


def test_nothing_is_left_in_the_temporary_folder(tmp_path):
    with private_server(tmp_path) as url:
        socket = url.removeprefix("unix://")
        assert os.path.exists(socket)
        pid = server_pid(url)
    wait_for_end(pid)
    with private_server(tmp_path):  # waits until the keeper of the first server is done
        assert not os.path.exists(os.path.dirname(socket))


def test_a_home_that_is_no_folder_is_named(tmp_path):
    home = tmp_path / "file"
    home.write_text("")
    with pytest.raises(StoreError, match=r"file/redis: expected a folder .* --redis-url"):
        private_server(home).__enter__()


def test_a_server_that_cannot_read_its_data_says_so(tmp_path):
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "appendonly.aof").write_bytes(b"this is no log of commands")
    with pytest.raises(StoreError, match=r"expected the private Redis server to start.*redis\.log"):
        private_server(tmp_path).__enter__()
