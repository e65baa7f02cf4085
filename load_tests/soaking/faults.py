"""Faults of a soak: odd clients, a registry that hangs, damaged records."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import redis

from load_tests.ranking.process import Running
from load_tests.unfair.attacks import HEADS, TRAILERS, endless_trailers, heads_without_bodies
from load_tests.unfair.bodies import worst_bodies
from ranker.store.keys import users_key, videos_key

DAMAGED: Final = b"\xff\xfe: no id and no record"
"""A field that is no id, with a value that is no record."""
REFUSALS: Final = (200, 400, 413, 422, 503)
"""Statuses of bodies that cost as much as they can; most are no requests that could be ranked."""


def trailers(service: Running, seconds: float) -> None:
    """Send trailers without end for some time."""
    with endless_trailers(service.address, TRAILERS):
        time.sleep(seconds)


def heads(service: Running, seconds: float) -> None:
    """Hold connections with heads of ranking requests, without bodies, for some time."""
    with heads_without_bodies(service.address, HEADS):
        time.sleep(seconds)


def bodies(service: Running) -> None:
    """Send every one of the worst bodies.

    Raises:
        ValueError: One was answered with another status than a ranking or a refusal.
    """
    for name, body in worst_bodies():
        status, _ = service.ask(body)
        if status not in REFUSALS:
            raise ValueError(f"{name}: expected one of the statuses {REFUSALS}, found {status}")


def registry_hung(registry: Path, seconds: float) -> None:
    """Put a pipe that nobody writes to in place of `current.json` for some time."""
    current, aside = registry / "current.json", registry / "current.json.aside"
    os.replace(current, aside)
    try:
        os.mkfifo(current)
        time.sleep(seconds)
    finally:
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
