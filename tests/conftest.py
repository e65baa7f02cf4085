"""What all tests share: one computing thread, and a private Redis for those that ask for one."""

import os
from collections.abc import Iterator

import pytest
import redis

# With the small batches of the tests, more threads would mostly wait for each other. It is read when torch is
# imported, also by the processes of the tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def private_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A private Redis for the tests of one file."""
    from ranker.private_redis.server import private_server  # after the number of threads is set
    from ranker.store.connection import connect

    with private_server(tmp_path_factory.mktemp("home")) as url, connect(url) as client:
        yield client


@pytest.fixture
def client(private_store: redis.Redis) -> redis.Redis:
    """A client of an empty Redis."""
    private_store.flushall()
    return private_store
