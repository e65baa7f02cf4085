"""A Redis that is set up as a cache, as one whose settings are hidden."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ranker.errors import StoreError
from ranker.store.eviction import dropped, eviction_policy, warn_of_eviction
from tests.serving.redis_process import redis_process


@pytest.fixture(scope="module")
def cache() -> Iterator[redis.Redis]:
    with (
        tempfile.TemporaryDirectory() as folder,
        redis_process(Path(folder)) as server,
        server.client() as client,
    ):
        yield client


def configure(client: redis.Redis, maxmemory: str, policy: str) -> None:
    client.config_set("maxmemory", maxmemory)
    client.config_set("maxmemory-policy", policy)


@pytest.mark.parametrize(
    ("maxmemory", "policy", "known", "warned"),
    [
        ("100mb", "allkeys-lru", "allkeys-lru", True),
        ("100mb", "allkeys-random", "allkeys-random", True),
        ("100mb", "volatile-lru", "volatile-lru", False),
        ("100mb", "noeviction", "noeviction", False),
        ("0", "allkeys-lru", None, False),
    ],
)
def test_a_server_that_drops_keys_is_warned_of(
    cache: redis.Redis,
    maxmemory: str,
    policy: str,
    known: str | None,
    warned: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure(cache, maxmemory, policy)
    caplog.set_level(logging.WARNING)
    warn_of_eviction(cache)
    assert eviction_policy(cache) == known
    assert (f"expected maxmemory-policy noeviction, found {policy}" in caplog.text) == warned


def test_a_server_that_hides_its_settings_is_no_error(
    cache: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    configure(cache, "100mb", "allkeys-lru")
    cache.acl_setuser("app", enabled=True, nopass=True, commands=["+@all", "-config", "-info"], keys=["*"])
    address = cache.connection_pool.connection_kwargs["path"]
    with redis.Redis(unix_socket_path=address, username="app", password="any") as limited:
        warn_of_eviction(limited)
        assert eviction_policy(limited) is None
        assert "it was emptied meanwhile" in str(dropped("users", "k", expected=2, found=1, client=limited))
    assert caplog.text == ""


def test_a_loss_names_the_policy_and_the_remedy(cache: redis.Redis) -> None:
    configure(cache, "100mb", "allkeys-lfu")
    error = dropped("users", "watchnext:users:x", expected=60_000, found=12, client=cache)
    assert isinstance(error, StoreError)
    for part in (
        "watchnext:users:x",
        "60,000 users",
        "found 12",
        "allkeys-lfu",
        "maxmemory-policy noeviction",
    ):
        assert part in str(error)
