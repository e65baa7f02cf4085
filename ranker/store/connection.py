"""Clients of a running Redis server: for bulk work, for a thread, for an event loop."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from ranker.errors import StoreError, StoreUrlError
from ranker.files.secrets import censored, shown

Client = TypeVar("Client")
TIMEOUT_S: Final = 10.0
"""Limit of a bulk command."""


@contextmanager
def connect(url: str) -> Iterator[redis.Redis]:
    """Connect for bulk work and check that the server answers.

    Args:
        url: A running server.

    Raises:
        StoreUrlError: The URL is not one of Redis.
        StoreError: Nothing answers there, or later within the context.
    """
    with _client(
        redis.Redis.from_url, url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
    ) as client:
        try:
            client.ping()
        except (redis.RedisError, OSError, ValueError) as error:
            raise unreachable(url, error) from error
        try:
            yield client
        except redis.RedisError as error:
            raise unreachable(url, error) from error


def connect_later(url: str, *, timeout_s: float) -> redis.Redis:
    """Make a client for a thread; it connects at its first command, and retries none.

    Args:
        url: A running server.
        timeout_s: Limit of connecting, and of waiting for the server's next bytes.

    Raises:
        StoreUrlError: The URL is not one of Redis.
    """
    return _client(
        redis.Redis.from_url,
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )


def connect_async(url: str, *, timeout_s: float, block_s: float = 0.0) -> redis.asyncio.Redis:
    """Make a client for an event loop; it connects at its first command.

    No command is retried: one in flight when the server dies fails, and a silent server costs one timeout. A
    connection that was closed meanwhile is replaced before a command is sent, so the first command after a
    server's return succeeds.

    Args:
        url: A running server.
        timeout_s: Limit of connecting, and of each command.
        block_s: How long blocking commands, such as XREAD with BLOCK, wait; added to `timeout_s`.

    Raises:
        StoreUrlError: The URL is not one of Redis.
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
    """Return the error for a server that does not answer."""
    return StoreError(
        f"{without_password(url)}: expected a Redis server, found {censored(str(error), [url])}; "
        "start one there, correct --redis-url, or leave it out for a private one"
    )


def without_password(url: str) -> str:
    """Remove the user name, password and options from a URL that was accepted."""
    return shown(url).partition("?")[0]


def _client(from_url: Callable[..., Client], url: str, **options: Any) -> Client:
    """Make a client and one of its connections, which does not connect yet but checks the URL's options.

    The URL is not quoted where it cannot be told apart from its password, and neither are the messages of the
    parser, which quote it.
    """
    if _has_bare_marks(url):
        raise StoreUrlError(
            "--redis-url: expected '/', '?', '#' and '@' in the user name and the password as %2F, %3F, %23 "
            "and %40, found one of them as it is"
        )
    try:
        client = from_url(url, **options)
        pool: Any = client.connection_pool  # type: ignore[attr-defined]
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, AttributeError, redis.RedisError):
        raise StoreUrlError(
            "--redis-url: expected redis://HOST:PORT, rediss://HOST:PORT or unix://PATH, with options that "
            "redis-py knows, found something else"
        ) from None
    return client


def _has_bare_marks(url: str) -> bool:
    """Whether an `@` stands after the first mark that ends the server's name: a password has that mark."""
    scheme, _, rest = url.partition("://")
    server, *after = re.split("[/?#]", rest, maxsplit=1)
    if scheme == "unix" and ("@" in server or not server):
        return False
    return "@" in "".join(after)
