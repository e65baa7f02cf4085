import asyncio
import logging
import socket
import threading
from contextlib import asynccontextmanager, suppress

import numpy as np
import pytest

from ranker.errors import StoreError
from ranker.features.stored import user_records, video_records
from ranker.store.connection import connect_async
from ranker.store.keys import changes_key, users_key, videos_key
from serving.http.metrics import Metrics
from serving.sync import feature_store as module
from serving.sync.feature_store import FeatureStore
from tests.serving.metric_value import metric_value
from tests.serving.small_ranker import SPEC, store_rows
from tests.serving.waiting import join, until

USERS, VIDEOS = user_records(SPEC), video_records(SPEC)
ROWS = [{"video_id": f"v{i}", "duration_s": float(i)} for i in range(5)]


@pytest.fixture
def client(server):
    """A client of the store's server, which is empty at first."""
    with server.client() as client:
        client.flushall()
        yield client


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


def test_a_viewer_and_videos_are_read_as_they_were_written(server, client):
    user = {"user_id": "u", "age": 30.0}
    store_rows(client, videos=ROWS, users=[user])
    found, videos, whole = run(server, lambda store: store.read(USERS, "u", VIDEOS, ["v3", "nobody", "v1"]))
    np.testing.assert_array_equal(found, USERS.of_rows([user])[0])
    assert list(videos) == ["v3", "v1"]
    for video_id, record in videos.items():
        np.testing.assert_array_equal(record, VIDEOS.of_rows([ROWS[int(video_id[1])]])[0])
    assert whole


def test_who_is_not_stored_is_none(server, client):
    assert run(server, lambda store: store.read(USERS, "u", VIDEOS, [])) == (None, {}, True)
    assert run(server, lambda store: store.read(USERS, "u", VIDEOS, ["v"])) == (None, {}, True)


def test_a_video_that_is_written_is_announced(server, client):
    run(server, lambda store: store.write_video(VIDEOS, "v", VIDEOS.of_rows(ROWS[:1])))
    [(_, fields)] = client.xrange(changes_key(VIDEOS.digest))
    assert fields == {b"ids": b'["v"]'}
    stored = run(server, lambda store: store.read_videos(VIDEOS, ["w", "v"]))
    np.testing.assert_array_equal(stored["v"], VIDEOS.of_rows(ROWS[:1])[0])
    assert list(stored) == ["v"]


def test_a_user_that_is_written_is_read(server, client):
    record = USERS.of_rows([{"user_id": "u", "age": 5.0}])
    run(server, lambda store: store.write_user(USERS, "u", record))
    found, _, _ = run(server, lambda store: store.read(USERS, "u", VIDEOS, []))
    np.testing.assert_array_equal(found, record[0])


@pytest.mark.parametrize("count", [0, 1, 400, 3000])
def test_the_whole_catalogue_is_read(server, client, count):
    store_rows(client, videos=[{"video_id": str(i), "duration_s": float(i)} for i in range(count)])

    async def everything(store):
        return [page async for page in store.scan_videos(VIDEOS)]

    found = {name: record for page in run(server, everything) for name, record in page.items()}
    assert sorted(found, key=int) == [str(i) for i in range(count)]
    for name in list(found)[:10]:
        expected = VIDEOS.of_rows([{"video_id": name, "duration_s": float(name)}])
        np.testing.assert_array_equal(found[name], expected[0])


@pytest.mark.parametrize("spoiled", [b"no record", b""])
def test_a_stored_record_that_is_none_is_left_out_named_and_counted(server, client, caplog, spoiled):
    store_rows(client, videos=ROWS, users=[{"user_id": "u"}])
    client.hset(videos_key(VIDEOS.digest), "v1", spoiled)
    metrics = Metrics(frozenset())
    ids = ["v0", "v1", "v2"]
    user, videos, whole = run(server, lambda store: store.read(USERS, "u", VIDEOS, ids), metrics=metrics)
    assert user is not None
    assert (sorted(videos), whole) == (["v0", "v2"], False)
    assert f"{videos_key(VIDEOS.digest)}: 'v1' is left out: expected stored records of" in caplog.text
    assert metric_value(metrics, "watchnext_undecodable_total") == 1


@pytest.mark.parametrize(
    ("name", "value"), [(b"\xff\xfe", None), (b"\xff", b"no record"), ("v9", b"no record"), ("v9", b"")]
)
def test_one_field_that_cannot_be_read_does_not_keep_the_catalogue_from_being(
    server, client, caplog, name, value
):
    store_rows(client, videos=ROWS)
    key = videos_key(VIDEOS.digest)
    client.hset(key, name, client.hget(key, "v1") if value is None else value)
    metrics = Metrics(frozenset())

    async def everything(store):
        return [page async for page in store.scan_videos(VIDEOS)]

    [page] = run(server, everything, metrics=metrics)
    assert sorted(page) == [row["video_id"] for row in ROWS]
    assert "is left out" in caplog.text
    assert metric_value(metrics, "watchnext_undecodable_total") == 1


@pytest.mark.parametrize("key", [users_key(USERS.digest), videos_key(VIDEOS.digest)])
def test_where_another_put_something_else_the_rest_is_read(server, client, key, caplog):
    store_rows(client, videos=ROWS, users=[{"user_id": "u"}])
    client.set(key, "something else")
    user, videos, whole = run(server, lambda store: store.read(USERS, "u", VIDEOS, ["v0"]))
    assert ((user is None), (not videos)) == (
        key.startswith("watchnext:users"),
        key.startswith("watchnext:videos"),
    )
    assert not whole
    assert "WRONGTYPE" in caplog.text


def test_a_write_that_is_refused_does_not_make_redis_absent(server, client):
    client.set(users_key(USERS.digest), "something else")

    async def write_and_read(store):
        with pytest.raises(StoreError, match="refused"):
            await store.write_user(USERS, "u", USERS.of_rows([{}]))
        await store.ping()

    run(server, write_and_read)


async def until_it_answers(store):
    """Wait until the store has found out that Redis is back."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await store.ping()
            except StoreError:
                await asyncio.sleep(0.01)


def test_while_redis_is_away_nobody_waits_for_it_and_then_all_is_normal(server, client, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module, "PROBE_S", 0.01)
    metrics = Metrics(frozenset())

    async def use(store):
        await store.ping()
        server.stop()
        with pytest.raises(StoreError, match="found TimeoutError"):
            await store.read(USERS, "u", VIDEOS, ["v"])
        for call in (
            lambda: store.read(USERS, "u", VIDEOS, ["v"]),
            lambda: store.read_videos(VIDEOS, ["v"]),
            lambda: store.write_user(USERS, "u", USERS.of_rows([{}])),
            lambda: store.write_video(VIDEOS, "v", VIDEOS.of_rows([{}])),
            store.ping,
        ):
            with pytest.raises(StoreError, match="found that it is away"):
                await call()
        await asyncio.sleep(0.3)
        with pytest.raises(StoreError, match="found that it is away"):
            await store.ping()
        server.go_on()
        await until_it_answers(store)

    run(server, use, timeout_s=0.1, metrics=metrics)
    assert caplog.text.count("Redis is away") == 1
    assert "Redis answers again" in caplog.text
    assert metric_value(metrics, "watchnext_feature_store_errors_total") == 1
    assert metric_value(metrics, 'watchnext_degraded_seconds_total{reason="feature_store"}') > 0.2


def test_after_an_absence_no_connection_of_before_is_used(server, client, monkeypatch):
    """They may be dead, which shows only when one is used."""
    monkeypatch.setattr(module, "PROBE_S", 0.01)
    mine = client.client_id()

    def connected():
        return {int(each["id"]) for each in client.client_list()} - {mine}

    async def use(store):
        def read_at_once():
            return asyncio.gather(*(store.read(USERS, "u", VIDEOS, ["v"]) for _ in range(5)))

        await until(lambda: not connected())  # of other tests
        await read_at_once()
        before = connected()
        assert len(before) == 5
        server.stop()
        with pytest.raises(StoreError, match="found TimeoutError"):
            await store.ping()
        server.go_on()
        await until_it_answers(store)
        await read_at_once()
        await until(lambda: not connected() & before)

    run(server, use, timeout_s=0.1)


def test_a_server_that_reads_its_data_is_away(monkeypatch):
    """Redis says so to every command until it has read the file that it keeps."""

    def loading(listener):
        connection, _ = listener.accept()
        with connection, suppress(ConnectionError):  # the client may close while an answer is on its way
            while connection.recv(4096):
                connection.sendall(b"-LOADING Redis is loading the dataset in memory\r\n" * 3)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=loading, args=(listener,))
        thread.start()

        async def main():
            async with store_at(f"redis://127.0.0.1:{listener.getsockname()[1]}") as store:
                with pytest.raises(StoreError, match="BusyLoadingError"):
                    await store.read(USERS, "u", VIDEOS, ["v"])
                with pytest.raises(StoreError, match="found that it is away"):
                    await store.ping()

        asyncio.run(main())
        join(thread)


def test_nobody_there_is_an_error_of_the_store():
    async def main():
        async with store_at("redis://127.0.0.1:1") as store:
            with pytest.raises(StoreError, match="ConnectionError"):
                await store.ping()

    asyncio.run(main())


def test_a_read_waits_no_longer_than_it_may_and_redis_is_not_taken_for_away(server, client):
    store_rows(client, users=[{"user_id": "u"}])

    async def use(store):
        await store.ping()
        server.stop()
        try:
            with pytest.raises(StoreError, match="expected Redis to answer within 10 ms"):
                await store.read(USERS, "u", VIDEOS, [], within_s=0.01)
        finally:
            server.go_on()
        await until(lambda: not store._left_reads)
        assert (await store.read(USERS, "u", VIDEOS, [], within_s=10))[0] is not None

    run(server, use, timeout_s=30.0)


def test_reads_that_nobody_waits_for_find_out_that_redis_is_away(server, client, monkeypatch):
    monkeypatch.setattr(module, "PROBE_S", 0.01)
    metrics = Metrics(frozenset())

    async def use(store):
        await store.ping()
        assert metric_value(metrics, "watchnext_feature_store_answers") == 1
        server.stop()
        try:
            with pytest.raises(StoreError, match="within 10 ms"):
                await store.read(USERS, "u", VIDEOS, [], within_s=0.01)
            await until(lambda: not store._left_reads)
            with pytest.raises(StoreError, match="found that it is away"):
                await store.read(USERS, "u", VIDEOS, [], within_s=0.01)
            assert metric_value(metrics, "watchnext_feature_store_answers") == 0
        finally:
            server.go_on()
        await until_it_answers(store)
        assert metric_value(metrics, "watchnext_feature_store_answers") == 1

    run(server, use, timeout_s=0.1, metrics=metrics)


def test_redis_does_not_owe_ever_more_answers(server, client, monkeypatch):
    monkeypatch.setattr(module, "MAX_LEFT_READS", 3)

    async def use(store):
        await store.ping()
        server.stop()
        try:
            reads = [store.read(USERS, "u", VIDEOS, [], within_s=0.01) for _ in range(5)]
            errors = await asyncio.gather(*reads, return_exceptions=True)
            assert sum("owes 3 answers" in str(error) for error in errors) == 2
            assert len(store._left_reads) == 3
        finally:
            server.go_on()

    run(server, use, timeout_s=30.0)
