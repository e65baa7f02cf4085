"""Kills of servers, keepers and users, in every combination."""

import contextlib
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import redis

from ranker.errors import StoreError
from ranker.private_redis import keeper
from ranker.private_redis.server import private_server
from tests.ranker.private_redis.server_process import (
    keeper_pid,
    server_pid,
    user_process,
    wait_for_another,
    wait_for_answer,
    wait_for_end,
)
from tests.serving.waiting import join


def test_the_server_stops_after_its_only_user_was_killed(tmp_path):
    with user_process(tmp_path) as user:
        pid = int(user.stdout.readline())
        user.send_signal(signal.SIGKILL)
        wait_for_end(pid)


def test_a_killed_user_does_not_take_the_server_from_the_others(tmp_path):
    with private_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        with user_process(tmp_path) as user:
            assert int(user.stdout.readline()) == server_pid(url)
            client.set("key", "value")
            user.send_signal(signal.SIGKILL)
            user.wait(60)
        assert client.get("key") == b"value"


def test_a_killed_server_is_back_for_its_users_and_for_the_next_one(tmp_path):
    with private_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        for count in range(3):
            client.set("key", count)
            pid = server_pid(url)
            os.kill(pid, signal.SIGKILL)
            pid = wait_for_another(url, pid)
            with private_server(tmp_path) as next_url:
                assert next_url == url
            assert client.get("key") == b"%d" % count
    wait_for_end(pid)


def test_nothing_that_was_acknowledged_is_lost_when_servers_are_killed_while_they_are_written_to(tmp_path):
    counts, done = [0], threading.Event()

    def count(url):
        with redis.Redis.from_url(url) as client:
            while not done.is_set():
                with contextlib.suppress(redis.ConnectionError):
                    counts.append(client.incr("count"))

    def wait_for_more(client):
        seen = len(counts)
        for _ in range(3000):
            if len(counts) > seen + 100:
                return
            time.sleep(0.01)
        pytest.fail("nothing more was acknowledged")

    with private_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        writer = threading.Thread(target=count, args=[url])
        writer.start()
        try:
            for _ in range(3):
                wait_for_answer(client)
                assert client.config_get("appendfsync") == {"appendfsync": "no"}
                wait_for_more(client)
                os.kill(server_pid(url), signal.SIGKILL)
                wait_for_more(client)
        finally:
            done.set()
            join(writer)
        assert int(client.get("count")) >= counts[-1]
    assert counts == sorted(set(counts))


def test_a_server_is_back_though_its_keeper_was_killed_with_it(tmp_path):
    with private_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        client.set("key", "value")
        pid = server_pid(url)
        os.kill(keeper_pid(url), signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        other_pid = wait_for_another(url, pid)
        assert client.get("key") == b"value"
    wait_for_end(other_pid)


def test_a_server_whose_keeper_was_killed_goes_on_and_stops_after_its_last_user(tmp_path):
    with user_process(tmp_path) as user:
        pid = int(user.stdout.readline())
        with private_server(tmp_path) as url:
            os.kill(keeper_pid(url), signal.SIGKILL)
        assert server_pid(url) == pid
        user.stdin.close()
        user.wait(60)
    with private_server(tmp_path) as url:  # if the last user did not, this one found another keeper
        assert url
    wait_for_end(pid)


def test_a_server_that_lost_both_keeper_and_users_is_stopped_after_the_next_user(tmp_path):
    with user_process(tmp_path) as user:
        pid = int(user.stdout.readline())
        address = (tmp_path / "redis" / "socket").read_text()
        os.kill(keeper_pid(f"unix://{address}"), signal.SIGKILL)
        user.send_signal(signal.SIGKILL)
        user.wait(60)
    with private_server(tmp_path) as url:
        assert server_pid(url) == pid
    wait_for_end(pid)


def test_a_server_that_is_killed_together_with_a_user_is_back_for_the_others(tmp_path):
    with private_server(tmp_path) as url:
        with user_process(tmp_path) as user:
            pid = int(user.stdout.readline())
            os.kill(pid, signal.SIGKILL)
            user.send_signal(signal.SIGKILL)
            user.wait(60)
        other_pid = wait_for_another(url, pid)
    wait_for_end(other_pid)


def test_a_server_that_cannot_come_back_is_given_up_until_it_can(tmp_path):
    data, log = tmp_path / "redis" / "appendonly.aof", tmp_path / "redis" / "redis.log"
    with private_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        client.set("key", "value")
        written = data.read_bytes()
        data.write_bytes(b"this is no log of commands")
        os.kill(server_pid(url), signal.SIGKILL)
        with pytest.raises(StoreError, match=r"expected the private Redis server to start.*Bad file format"):
            private_server(tmp_path).__enter__()
        assert log.read_text().count("Bad file format") <= keeper.MAX_FAILED_STARTS

        data.write_bytes(written)
        with private_server(tmp_path) as next_url:
            assert next_url == url
            assert client.get("key") == b"value"


def test_a_server_is_back_though_the_folder_of_its_socket_was_deleted(tmp_path):
    with private_server(tmp_path) as url:
        shutil.rmtree(Path(url.removeprefix("unix://")).parent)
        os.kill(int((tmp_path / "redis" / "server.lock").read_text()), signal.SIGKILL)
        assert wait_for_answer(redis.Redis.from_url(url))


def test_what_a_killed_server_left_half_written_is_removed(tmp_path):
    with private_server(tmp_path) as url:
        draft = tmp_path / "redis" / "temp-rewriteaof-1.aof"
        draft.write_bytes(b"half of it")
        pid = server_pid(url)
        os.kill(pid, signal.SIGKILL)
        wait_for_another(url, pid)
        assert not draft.exists()
