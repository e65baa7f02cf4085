"""A feature store that is used from a test."""

import asyncio
from contextlib import asynccontextmanager

from ranker.features.stored import user_records, video_records
from ranker.store.connection import connect_async
from serving.http.metrics import Metrics
from serving.sync.feature_store import FeatureStore
from tests.serving.small_ranker import SPEC

USERS, VIDEOS = user_records(SPEC), video_records(SPEC)


@asynccontextmanager
async def store_at(url, *, timeout_s=5.0, metrics=None):
    store = FeatureStore(connect_async(url, timeout_s=timeout_s), timeout_s, metrics or Metrics(frozenset()))
    try:
        yield store
    finally:
        await store.close()


def run(server, use, **options):
    """Run `use` of a store at the server."""

    async def main():
        async with store_at(server.url, **options) as store:
            return await use(store)

    return asyncio.run(main())
