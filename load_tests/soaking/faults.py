"""Faults of a soak that need no more than an address: odd clients, a registry that hangs, damaged records."""

import http.client
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import redis

from load_tests.unfair.attacks import Address, endless_trailers, heads_without_bodies
from load_tests.unfair.bodies import worst_bodies
from ranker.store.keys import users_key, videos_key

CONNECTIONS: Final = 32
DAMAGED: Final = b"\xff\xfe: no id and no record"
"""A field that is no id, with a value that is no record."""
REFUSALS: Final = (200, 400, 413, 422, 503)
"""Statuses of bodies that cost as much as they can; most are no requests that could be ranked."""


def trailers(url: str, seconds: float) -> None:
    """Send trailers without end on two connections for some time."""
    with endless_trailers(_address(url), 2):
        time.sleep(seconds)


def heads(url: str, seconds: float) -> None:
    """Hold connections with heads of ranking requests, without bodies, for some time."""
    with heads_without_bodies(_address(url), CONNECTIONS):
        time.sleep(seconds)


def bodies(url: str) -> None:
    """Send every one of the worst bodies.

    Raises:
        ValueError: One was answered with another status than a ranking or a refusal.
    """
    for name, body in worst_bodies():
        status = _status(url, "POST", "/v1/rank", body)
        if status not in REFUSALS:
            raise ValueError(f"{name}: expected one of the statuses {REFUSALS}, found {status}")


def deleted(url: str, video: str) -> None:
    """Delete a viewer that nobody asks for, and a video that is in no request of the load.

    Raises:
        ValueError: A deletion was refused.
    """
    for path in (f"/v1/users/{video}", f"/v1/videos/{video}"):
        status = _status(url, "DELETE", path, b"")
        if status != 204:
            raise ValueError(f"{path}: expected status 204, found {status}")


def registry_hung(registry: Path, seconds: float) -> None:
    """Put a pipe that nobody writes to in place of `current.json` for some time."""
    current, aside = registry / "current.json", registry / "current.json.aside"
    os.replace(current, aside)
    os.mkfifo(current)
    time.sleep(seconds)
    os.replace(aside, current)


@contextmanager
def undecodable(store_url: str) -> Iterator[None]:
    """Store fields that are no ids, with values that are no records, in every layout, while it lasts."""
    with redis.Redis.from_url(store_url) as client:
        keys = [key for pattern in (users_key("*"), videos_key("*")) for key in client.scan_iter(pattern)]
        for key in keys:
            client.hset(key, DAMAGED, DAMAGED)
        try:
            yield
        finally:
            for key in keys:
                client.hdel(key, DAMAGED)


def _address(url: str) -> Address:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def _status(url: str, method: str, path: str, body: bytes) -> int:
    connection = http.client.HTTPConnection(*_address(url), timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()
