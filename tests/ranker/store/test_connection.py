import asyncio
import socket

import pytest
import redis

from ranker.errors import StoreError
from ranker.store.connection import connect, connect_async, store_url, without_password
from ranker.store.embedded import embedded_server

NOWHERE = "redis://reader:secret@127.0.0.1:1/0?socket_timeout=1"


def test_without_a_url_the_private_server_is_used(tmp_path):
    with connect(None, tmp_path) as client, embedded_server(tmp_path) as url:
        client.set("key", "value")
        with connect(url, tmp_path / "unused") as other:
            assert other.get("key") == b"value"


def test_a_given_url_starts_no_server(tmp_path):
    with store_url(NOWHERE, tmp_path) as url:
        assert url == NOWHERE
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path):
    with pytest.raises(StoreError, match=r"^redis://127\.0\.0\.1:1/0: .* --redis-url") as caught:
        connect(NOWHERE, tmp_path).__enter__()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1", "127.0.0.1:6379", "redis://127.0.0.1:port", "redis://[", ""]
)
def test_what_is_no_url_of_redis_is_refused(tmp_path, url):
    with pytest.raises(StoreError, match=r"--redis-url: expected redis://HOST:PORT"):
        connect(url, tmp_path).__enter__()
    with pytest.raises(StoreError, match=r"--redis-url: expected redis://HOST:PORT"):
        connect_async(url, timeout_s=1)


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


def test_the_asynchronous_client_comes_back_after_its_connection_was_cut(tmp_path):
    async def read_twice(url: str) -> bytes | None:
        client = connect_async(url, timeout_s=5)
        await client.set("key", "value")
        with connect(url, tmp_path) as other:
            other.client_kill_filter(_type="normal", skipme=True)
        value = await client.get("key")
        await client.aclose()
        return value

    with store_url(None, tmp_path) as url:
        assert asyncio.run(read_twice(url)) == b"value"


def test_the_asynchronous_client_does_not_ask_a_silent_server_twice():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = connect_async(f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.05)
        with pytest.raises(redis.TimeoutError):
            asyncio.run(client.ping())
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_the_asynchronous_client_of_a_dead_server_fails_without_a_pause():
    client = connect_async(NOWHERE, timeout_s=1)
    with pytest.raises(redis.ConnectionError):
        asyncio.run(client.ping())
