"""A client for readers of the log of events, which wait by themselves while Redis is away."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import redis

from ranker.store.connection import TIMEOUT_S, connect, connect_later


@contextmanager
def patient_client(url: str) -> Iterator[redis.Redis]:
    """Give a client that retries no command; Redis has to be there at first.

    Args:
        url: A running server.

    Raises:
        StoreUrlError: The URL is not one of Redis.
        StoreError: Nothing answers there.
    """
    with connect(url):
        pass  # it names the URL in its message
    with closing(connect_later(url, timeout_s=TIMEOUT_S)) as client:
        yield client
