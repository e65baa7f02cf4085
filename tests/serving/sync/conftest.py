import pytest

from tests.serving.small_ranker import (
    publish_small_ranker,
    store_rows,
)
from tests.serving.swapping_service import ROWS


@pytest.fixture
def folder(tmp_path, server):
    """A registry with one version, and a store with its videos."""
    with server.client() as client:
        client.flushall()
        store_rows(client, videos=ROWS)
    publish_small_ranker(tmp_path, seed=1)
    return tmp_path


@pytest.fixture
def client(store):
    """A client of the store's server, which is empty at first."""
    return store
