import asyncio

import pyarrow as pa
import pytest
import redis

from ranker.errors import StoreError
from ranker.store.connection import connect_async
from ranker.store.features import FeatureWriter
from ranker.store.keys import video_key
from serving.feature_store import FeatureStore, Stored


def fetch(url, *arguments):
    async def run():
        store = FeatureStore(connect_async(url, timeout_s=5))
        try:
            return await store.fetch(*arguments)
        finally:
            await store.close()

    return asyncio.run(run())


@pytest.fixture
def writer(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        yield FeatureWriter(client)


def test_everything_written_is_read_in_the_requests_order(redis_url, writer):
    writer.write_users(pa.RecordBatch.from_pydict({"user_id": ["fs"], "age": [30]}), ["age"])
    videos = {"video_id": ["fs1", "fs2", "fs3"], "tags": [["a"], None, ["b", "c"]]}
    writer.write_videos(pa.RecordBatch.from_pydict(videos), ["tags"])
    assert fetch(redis_url, "fs", "fs1", ["fs3", "nobody", "fs2"]) == Stored(
        {"age": 30}, {"tags": ["a"]}, [{"tags": ["b", "c"]}, None, {}]
    )


def test_without_a_query_video_there_is_no_record_of_it(redis_url):
    assert fetch(redis_url, "nobody", None, ["nothing"]) == Stored(None, None, [None])


@pytest.mark.parametrize("value", ["no JSON", "[1]"])
def test_what_watchnext_did_not_write_is_an_error_of_the_store(redis_url, value):
    with redis.Redis.from_url(redis_url) as client:
        client.set(video_key("foreign"), value)
    with pytest.raises(StoreError, match="watchnext:video:foreign"):
        fetch(redis_url, "nobody", None, ["a", "foreign"])


def test_a_dead_server_is_an_error_of_the_store():
    with pytest.raises(StoreError, match="from Redis"):
        fetch("redis://127.0.0.1:1", "u", None, ["a"])
