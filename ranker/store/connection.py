"""Connecting to Redis: to the server that a URL names, or to the private one in watchnext's data folder."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from ranker.errors import StoreError
from ranker.store.embedded import embedded_server

Client = TypeVar("Client")
TIMEOUT_S: Final = 10.0
"""How long a bulk command may take."""


def default_home() -> Path:
    """The data folder when none is named."""
    return Path.home() / ".local" / "share" / "watchnext"


@contextmanager
def store_url(redis_url: str | None, home: Path) -> Iterator[str]:
    """Give the URL of the Redis server to use.

    Args:
        redis_url: A running server, or None for the private one, which runs while this context lasts in any
            process.
        home: watchnext's data folder, for the private server.

    Raises:
        StoreError: The private server does not start.
    """
    if redis_url is not None:
        yield redis_url
    else:
        with embedded_server(home) as url:
            yield url


@contextmanager
def connect(redis_url: str | None, home: Path) -> Iterator[redis.Redis]:
    """Connect for bulk work and see that the server answers.

    Args:
        redis_url: A running server, or None for the private one.
        home: watchnext's data folder, for the private server.

    Raises:
        StoreError: The URL is none, or nothing answers there.
    """
    with (
        store_url(redis_url, home) as url,
        _client(
            redis.Redis.from_url, url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
        ) as client,
    ):
        try:
            client.ping()
        except redis.RedisError as error:
            raise unreachable(url, error) from error
        yield client


def connect_later(url: str, *, timeout_s: float) -> redis.Redis:
    """Make a client for a thread; it connects when it is first used, and tries no command twice.

    Args:
        url: A running server.
        timeout_s: How long connecting, and the server's silence, may last.

    Raises:
        StoreError: The URL is none.
    """
    return _client(
        redis.Redis.from_url,
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )


def connect_async(url: str, *, timeout_s: float, block_s: float = 0.0) -> redis.asyncio.Redis:
    """Make a client for an event loop; it connects when it is first used.

    No command is tried twice: one that was under way when the server went has failed, and a silent server
    is waited for once. Connections that were dropped meanwhile are replaced before a command is sent, so the
    first command after a server's return succeeds.

    Args:
        url: A running server.
        timeout_s: How long connecting, and each command, may take.
        block_s: How long commands that wait by intent, such as XREAD with BLOCK, wait; `timeout_s` comes on
            top of it.

    Raises:
        StoreError: The URL is none.
    """
    return _client(
        redis.asyncio.Redis.from_url,
        url,
        socket_timeout=timeout_s + block_s,
        socket_connect_timeout=timeout_s,
        retry=AsyncRetry(NoBackoff(), 0),
        protocol=2,  # with RESP3 over TCP, its pool (redis-py 8.1) hands out connections that were closed
    )


def unreachable(url: str, error: Exception) -> StoreError:
    """The error that says which server did not answer, and what to do."""
    return StoreError(
        f"{without_password(url)}: expected a Redis server, found {error}; "
        "start one there, correct --redis-url, or leave it out for a private one"
    )


def without_password(url: str) -> str:
    """The URL as it may be shown: without user name, password and options."""
    return re.sub("//.*@", "//", url.partition("?")[0])


def _client(from_url: Callable[..., Client], url: str, **options: Any) -> Client:
    try:
        return from_url(url, **options)
    except ValueError as error:
        raise StoreError(
            f"--redis-url: expected redis://HOST:PORT, rediss://HOST:PORT or unix://PATH, "
            f"found '{without_password(url)}' ({error})"
        ) from error
