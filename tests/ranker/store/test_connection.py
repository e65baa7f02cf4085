import asyncio
import contextlib
import os
import signal
import socket
import tempfile
import traceback

import pytest
import redis

from load_tests.ranking.process import free_port
from load_tests.soaking.redis_server import RedisServer
from ranker.errors import StoreError, StoreUrlError, UserError
from ranker.private_redis.server import private_server
from ranker.store.connection import connect, connect_async, unreachable, without_password

NOWHERE = "redis://reader:secret@127.0.0.1:1/0?socket_timeout=1"


def test_a_server_that_does_not_answer_is_named_without_its_password():
    with pytest.raises(StoreError, match=r"^redis://127\.0\.0\.1:1/0: .* --redis-url") as caught:
        connect(NOWHERE).__enter__()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1", "127.0.0.1:6379", "redis://127.0.0.1:port", "redis://[", ""]
)
def test_what_is_no_url_of_redis_is_refused(url):
    with pytest.raises(StoreError, match=r"--redis-url: expected redis://HOST:PORT"):
        connect(url).__enter__()
    with pytest.raises(StoreError, match=r"--redis-url: expected redis://HOST:PORT"):
        connect_async(url, timeout_s=1)


@pytest.mark.parametrize(
    "url",
    [
        *(f"redis://:hunter2{mark}rest@127.0.0.1:1" for mark in "/?#"),
        *(f"redis://user:hunter2{mark}rest@127.0.0.1:1" for mark in "/?#"),
        "redis://:2017/rest@127.0.0.1:1",  # the password's beginning looks like a port
        "unix://user:hunter2/rest@/run/redis.sock",
        "redis://:hunter2@127.0.0.1:99999",
        "redis://:hunter2@[::1",
        "redis://:hunter2@127.0.0.1:1?database=1",
        "redis://127.0.0.1:1?password=hunter2&socket_timeout=soon",
        "rediss://:hunter2@127.0.0.1:1?ssl_cert_reqs=hunter2",
    ],
)
@pytest.mark.parametrize(
    "client", [lambda url: connect(url).__enter__(), lambda url: connect_async(url, timeout_s=1)]
)
def test_a_url_that_is_refused_is_not_quoted(url, client):
    with pytest.raises(StoreUrlError, match=r"^--redis-url: expected ") as caught:
        client(url)
    told = "".join(traceback.format_exception(caught.value))
    message = str(caught.value)
    for part in ("hunter2", "2017", "127.0.0.1"):
        assert part not in message
        assert caught.value.__suppress_context__ or part not in told
    assert isinstance(caught.value, UserError)


def test_a_server_that_is_gone_in_the_middle_is_named(tmp_path):
    with pytest.raises(StoreError, match="expected a Redis server"), connect_to_killed(tmp_path) as client:
        client.ping()


@contextlib.contextmanager
def connect_to_killed(folder):
    server = RedisServer(folder, free_port())
    server.start()
    try:
        with connect(server.url) as client:
            server.kill()
            yield client
    finally:
        server.kill()


def test_a_message_of_the_server_is_told_without_the_password():
    quoted = redis.ResponseError("unknown command 'HELLO', with args beginning with: 'AUTH' 'hunter2'")
    assert "hunter2" not in str(unreachable("redis://:hunter2@127.0.0.1:1", quoted))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:6379/1", "redis://host:6379/1"),
        ("unix://user:secret@/run/redis.sock?db=1", "unix:///run/redis.sock"),
        ("rediss://host?password=secret", "rediss://host"),
    ],
)
def test_passwords_are_not_shown(url, shown):
    assert without_password(url) == shown


def test_the_first_commands_after_a_killed_server_is_back_succeed(tmp_path):
    async def read_again(url: str) -> list[bytes | None]:
        async with connect_async(url, timeout_s=5) as client, connect_async(url, timeout_s=5) as other:
            await client.set("key", "value")
            await asyncio.gather(*(client.get("key") for _ in range(20)))  # leaves as many open connections
            os.kill((await other.info("server"))["process_id"], signal.SIGKILL)
            while True:
                with contextlib.suppress(redis.ConnectionError):
                    await other.ping()
                    break
                await asyncio.sleep(0.01)
            return await asyncio.gather(*(client.get("key") for _ in range(20)))

    with private_server(tmp_path) as url:
        values = asyncio.run(asyncio.wait_for(read_again(url), 30))
    assert values == [b"value"] * 20


def test_no_connection_of_a_killed_server_on_a_port_is_used_again(tmp_path):
    server = RedisServer(tmp_path, free_port())

    async def pings_before_and_after() -> list[bool]:
        client = connect_async(server.url, timeout_s=5.0)
        try:
            await asyncio.gather(*(client.ping() for _ in range(5)))  # five connections
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            return await asyncio.gather(*(client.ping() for _ in range(5)))
        finally:
            await client.aclose()

    server.start()
    try:
        assert asyncio.run(pings_before_and_after()) == [True] * 5
    finally:
        server.kill()


def test_a_stopped_server_is_not_waited_for_and_answers_again_once_it_goes_on(tmp_path):
    async def read_on(url: str) -> bytes | None:
        async with connect_async(url, timeout_s=0.2) as client:
            await client.set("key", "value")
            pid = (await client.info("server"))["process_id"]
            os.kill(pid, signal.SIGSTOP)
            try:
                for _ in range(2):  # on the open connection, then on a new one
                    with pytest.raises(redis.RedisError, match="Timeout"):
                        await client.get("key")
            finally:
                os.kill(pid, signal.SIGCONT)
            while True:
                with contextlib.suppress(redis.RedisError):
                    return await client.get("key")

    with private_server(tmp_path) as url:
        assert asyncio.run(asyncio.wait_for(read_on(url), 30)) == b"value"


def test_a_command_that_waits_by_intent_is_given_its_time(tmp_path):
    async def read(url: str, block_s: float) -> object:
        async with connect_async(url, timeout_s=0.2, block_s=block_s) as client:
            return await client.xread({"stream": "$"}, block=500)

    with private_server(tmp_path) as url:
        assert asyncio.run(read(url, block_s=5)) == []
        with pytest.raises(redis.TimeoutError):
            asyncio.run(read(url, block_s=0))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_the_asynchronous_client_does_not_ask_a_silent_server_twice(family):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(family) as silent:
        silent.bind(("127.0.0.1", 0) if family == socket.AF_INET else f"{folder}/silent")
        silent.listen()
        silent.setblocking(False)
        name = silent.getsockname()
        url = f"redis://127.0.0.1:{name[1]}" if family == socket.AF_INET else f"unix://{name}"
        with pytest.raises(redis.RedisError, match="Timeout"):
            asyncio.run(connect_async(url, timeout_s=0.05).ping())
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_the_asynchronous_client_of_a_dead_server_fails_without_a_pause():
    client = connect_async(NOWHERE, timeout_s=1)
    with pytest.raises(redis.ConnectionError):
        asyncio.run(client.ping())
