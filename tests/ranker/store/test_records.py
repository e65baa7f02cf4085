import asyncio
import json

import numpy as np
import pytest

from ranker.errors import StoreError
from ranker.private_redis.server import private_server
from ranker.store import records as module
from ranker.store.connection import connect, connect_async
from ranker.store.keys import changes_key, users_key, videos_key
from ranker.store.records import (
    CHANGES_KEPT_MS,
    RecordWriter,
    from_bytes,
    milliseconds,
    queue_videos,
    to_bytes,
)

RECORDS = np.array([[1, 2**64 - 1], [0, 2**40], [7, 8]], np.uint64)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with private_server(tmp_path_factory.mktemp("home")) as url, connect(url) as client:
        yield client


@pytest.fixture
def writer(client):
    client.flushall()
    return RecordWriter(client, users="u", videos="v")


def test_a_record_is_its_words_in_little_endian():
    assert to_bytes(RECORDS)[0] == b"\x01" + bytes(7) + b"\xff" * 8
    np.testing.assert_array_equal(from_bytes(to_bytes(RECORDS), 2), RECORDS)
    assert from_bytes([], 2).shape == (0, 2)
    assert to_bytes(RECORDS[:0]) == []


def test_a_record_of_another_length_is_refused():
    with pytest.raises(StoreError, match="expected stored records of 16 bytes, found one of 15"):
        from_bytes([*to_bytes(RECORDS), b"x" * 15], 2)


def test_users_and_videos_of_one_id_are_apart(client, writer):
    writer.write_users(["9"], RECORDS[:1])
    writer.write_videos(["9"], RECORDS[1:2])
    assert client.hgetall(users_key("u")) == {b"9": to_bytes(RECORDS)[0]}
    assert client.hgetall(videos_key("v")) == {b"9": to_bytes(RECORDS)[1]}


def test_layouts_are_apart(client, writer):
    writer.write_videos(["9"], RECORDS[:1])
    RecordWriter(client, users="u", videos="w").write_videos(["9"], RECORDS[1:2])
    assert client.hget(videos_key("v"), "9") != client.hget(videos_key("w"), "9")
    assert client.xlen(changes_key("v")) == client.xlen(changes_key("w")) == 1


def test_writing_again_replaces_the_record(client, writer):
    writer.write_users(["a", "b"], RECORDS[:2])
    writer.write_users(["b"], RECORDS[2:])
    assert client.hmget(users_key("u"), ["a", "b"]) == [to_bytes(RECORDS)[0], to_bytes(RECORDS)[2]]


def test_videos_are_announced_in_the_order_in_which_they_were_written(client, writer, monkeypatch):
    monkeypatch.setattr(module, "RECORDS_PER_COMMAND", 2)
    writer.write_videos(["a", "ü", '"c"'], RECORDS)
    writer.write_videos(["a"], RECORDS[:1])
    writer.write_users(["not announced"], RECORDS[:1])
    announced = [json.loads(fields[b"ids"]) for _, fields in client.xrange(changes_key("v"))]
    assert announced == [["a", "ü"], ['"c"'], ["a"]]
    assert client.hlen(videos_key("v")) == 3


def test_nothing_to_write_writes_nothing(client, writer):
    writer.write_videos([], RECORDS[:0])
    writer.write_users([], RECORDS[:0])
    assert client.dbsize() == 0


def test_old_announcements_are_dropped_a_hundred_at_a_time(client, writer):
    now_ms = milliseconds(client.time())
    for place in range(300):
        client.xadd(changes_key("v"), {"ids": '["old"]'}, id=f"{now_ms - CHANGES_KEPT_MS - 1000}-{place + 1}")
    client.xadd(changes_key("v"), {"ids": '["kept"]'}, id=f"{now_ms - CHANGES_KEPT_MS + 60_000}-0")
    writer.write_videos(["new"], RECORDS[:1])
    announced = [json.loads(fields[b"ids"]) for _, fields in client.xrange(changes_key("v"))]
    assert announced[-2:] == [["kept"], ["new"]]
    assert announced.count(["old"]) <= 100


def test_an_event_loop_queues_the_same_commands(client, writer):
    async def run():
        path = client.connection_pool.connection_kwargs["path"]
        async with connect_async(f"unix://{path}", timeout_s=5) as other:
            pipeline = other.pipeline(transaction=True)
            queue_videos(pipeline, "v", ["a"], RECORDS[:1], now_ms=milliseconds(await other.time()))
            await pipeline.execute()

    asyncio.run(run())
    assert client.hget(videos_key("v"), "a") == to_bytes(RECORDS)[0]
    assert client.xlen(changes_key("v")) == 1
