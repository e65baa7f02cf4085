import asyncio
import gc
import logging
import tempfile
import weakref
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from ranker.bundles.bundle import unpack
from ranker.features.stored import video_records
from ranker.store.connection import connect_async
from ranker.store.keys import changes_key, videos_key
from serving.http.metrics import Metrics
from serving.http.service_time import ServiceTime
from serving.model import catalogue as catalogue_module
from serving.model.served_model import ServedModel
from serving.model.worker import ModelWorker
from serving.sync import catalogue_follower as module
from serving.sync.catalogue_follower import CatalogueFollower, StreamCursor
from serving.sync.feature_store import FeatureStore
from tests.serving.redis_process import redis_process
from tests.serving.small_ranker import SPEC, packed_ranker, store_rows
from tests.serving.waiting import until

BUNDLE = unpack(packed_ranker(), where="test")
DIGEST = video_records(SPEC).digest
TIMEOUT_S = 0.2


@pytest.fixture
def server():
    with tempfile.TemporaryDirectory() as folder, redis_process(Path(folder)) as server:
        yield server


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_MS", 50)
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    monkeypatch.setattr("serving.sync.circuit_breaker.PROBE_S", 0.01)


class Service:
    """A catalogue with its follower, as a service has them."""

    def __init__(self, url, worker):
        model = ServedModel(BUNDLE, 1)
        self.catalogue = model.catalogue
        self.worker = worker
        self.store = FeatureStore(connect_async(url, timeout_s=TIMEOUT_S), TIMEOUT_S, Metrics(frozenset()))
        self.client = connect_async(url, timeout_s=TIMEOUT_S, block_s=0.05)
        self.follower = CatalogueFollower(model, self.store, self.client, worker.call)

    def has(self, *rows):
        """Whether the catalogue has these rows as they are here."""
        ids, records = self.catalogue.copies([row["video_id"] for row in rows])
        return len(ids) == len(rows) and np.array_equal(records, self.catalogue.layout.of_rows(rows))


def following(server, use, *, after=None, others=0):
    """Run `use` with a service that follows, and with some more if asked for."""

    @asynccontextmanager
    async def service(worker):
        one = Service(server.url, worker)
        await one.follower.start(after=after)
        try:
            yield one
        finally:
            await one.follower.stop()
            await one.store.close()
            await one.client.aclose()

    async def main():
        worker = ModelWorker(1, 10, Metrics(frozenset()), ServiceTime())
        try:
            async with service(worker) as first:
                if not others:
                    return await use(first)
                async with service(worker) as second:
                    return await use(first, second)
        finally:
            worker.close()

    return asyncio.run(main())


def rows(prefix, count, duration_s=1.0):
    return [{"video_id": f"{prefix}{i}", "duration_s": duration_s + i} for i in range(count)]


def test_what_is_stored_at_the_start_is_resident_at_once(server):
    stored = rows("v", 2500)[:1900]
    store_rows(server.client(), videos=stored)

    async def use(service):
        assert service.has(*stored)

    following(server, use)


def test_every_service_sees_every_change(server):
    client = server.client()
    store_rows(client, videos=rows("v", 3))

    async def use(one, other):
        changed = [{"video_id": "v1", "duration_s": 77.0}, {"video_id": "new", "topic": "news"}]
        store_rows(client, videos=changed)
        await until(lambda: one.has(*changed) and other.has(*changed))
        assert one.has(rows("v", 3)[0], rows("v", 3)[2])

    following(server, use, others=1)


def test_many_changes_at_once_arrive(server, monkeypatch):
    monkeypatch.setattr(module, "ENTRIES_PER_READ", 2)
    monkeypatch.setattr(module, "VIDEOS_PER_CALL", 100)
    client = server.client()

    async def use(service):
        for round_ in range(5):
            store_rows(client, videos=rows("v", 450, float(round_)))
        await until(lambda: service.has(*rows("v", 450, 4.0)))

    following(server, use)


def test_a_full_catalogue_takes_changes_of_its_own_videos_only(server, monkeypatch):
    monkeypatch.setattr(catalogue_module, "MIN_CAPACITY", 10)
    client = server.client()
    store_rows(client, videos=rows("v", 10))

    async def use(service):
        store_rows(client, videos=[*rows("w", 5), *rows("v", 3, 90.0)])
        await until(lambda: service.has(*rows("v", 3, 90.0)))
        assert service.catalogue.missing([row["video_id"] for row in rows("v", 10)]) == []

    following(server, use)


def test_a_video_that_is_gone_from_the_store_leaves(server):
    client = server.client()
    store_rows(client, videos=rows("v", 2))

    async def use(service):
        client.hdel(videos_key(DIGEST), "v1")
        client.xadd(changes_key(DIGEST), {"ids": '["v1"]'})
        await until(lambda: service.catalogue.missing(["v0", "v1"]) == ["v1"])

    following(server, use)


@pytest.mark.parametrize("again", [True, False], ids=["begun anew", "gone"])
def test_a_stream_that_ends_before_the_cursor_is_read_from_its_beginning(server, again):
    client, far = server.client(), "9999999999999-0"

    async def use(service):
        client.xadd(changes_key(DIGEST), {"ids": "[]"}, id=far)
        await until(lambda: service.follower.cursor.entry_id == far.encode())
        client.delete(changes_key(DIGEST))
        if again:
            client.xadd(changes_key(DIGEST), {"ids": "[]"})
        await until(lambda: service.follower.cursor.entry_id != far.encode())
        store_rows(client, videos=rows("v", 2))
        await until(lambda: service.has(*rows("v", 2)))

    following(server, use)


def test_without_redis_it_starts_empty_and_takes_up_what_comes(server):
    store_rows(server.client(), videos=rows("v", 5))
    server.kill()

    async def use(service):
        assert len(service.catalogue) == 0
        server.start()
        await until(lambda: service.has(*rows("v", 5)))
        store_rows(server.client(), videos=rows("w", 1))
        await until(lambda: service.has(*rows("w", 1)))

    following(server, use)


@pytest.mark.parametrize("empty", [False, True])
def test_after_another_server_has_come_changes_are_followed_there(server, empty, caplog):
    caplog.set_level(logging.INFO)
    store_rows(server.client(), videos=rows("v", 3))

    async def use(service):
        server.kill()
        server.start(empty=empty)
        store_rows(server.client(), videos=rows("w", 2, 5.0))
        await until(lambda: service.has(*rows("w", 2, 5.0)))
        assert service.has(*rows("v", 3))
        assert caplog.text.count("videos are resident") == 2

    following(server, use)


def test_a_server_that_hung_is_followed_on_from_there(server, caplog):
    caplog.set_level(logging.INFO)
    store_rows(server.client(), videos=rows("v", 3))

    async def use(service):
        server.stop()
        await until(lambda: "not followed" in caplog.text)
        server.go_on()
        store_rows(server.client(), videos=rows("w", 2))
        await until(lambda: service.has(*rows("w", 2)))
        assert caplog.text.count("videos are resident") == 1  # not read a second time

    following(server, use)


def test_it_goes_on_from_a_cursor(server):
    client = server.client()
    store_rows(client, videos=rows("old", 1))

    async def cursor_of(service):
        return service.follower.cursor

    cursor = following(server, cursor_of)
    store_rows(client, videos=rows("new", 1))

    async def use(service):
        await until(lambda: service.has(*rows("new", 1)))
        assert service.catalogue.missing(["old0"]) == ["old0"]

    following(server, use, after=cursor)


def test_from_a_cursor_whose_announcements_are_forgotten_all_is_read(server):
    store_rows(server.client(), videos=rows("old", 1))

    async def cursor_of(service):
        return service.follower.cursor

    cursor = following(server, cursor_of)

    async def use(service):
        assert service.has(*rows("old", 1))

    following(server, use, after=StreamCursor(cursor.entry_id, cursor.run_id, monotonic() - 3600))


@pytest.mark.parametrize(
    "fields",
    [{"other": "field"}, *({"ids": ids} for ids in ["no JSON", "17", "[1]", '[["a"]]', b"\xff"])],
    ids=str,
)
def test_an_announcement_that_is_none_stops_nothing(server, fields, caplog):
    caplog.set_level(logging.INFO)
    client = server.client()

    async def use(service):
        entry_id = client.xadd(changes_key(DIGEST), fields).decode()
        store_rows(client, videos=rows("v", 2))
        await until(lambda: service.has(*rows("v", 2)))
        assert f"{changes_key(DIGEST)}: '{entry_id}' is left out: expected ids with a list" in caplog.text
        assert caplog.text.count("videos are resident") == 1  # the catalogue is not read again for it
        store_rows(client, videos=rows("w", 2))
        await until(lambda: service.has(*rows("w", 2)))

    following(server, use)


def test_what_a_stopped_follower_kept_up_to_date_is_free_at_once(server):
    """A catalogue is large, and the collector of cycles may come late."""

    async def use(service):
        model = ServedModel(BUNDLE, 1)
        gone = weakref.ref(model.catalogue)
        follower = CatalogueFollower(model, service.store, service.client, service.worker.call)
        await follower.start()
        await asyncio.sleep(0.1)
        await follower.stop()
        del follower, model
        await service.worker.call(lambda: None)  # the model's thread drops its last job with the next one
        await until(lambda: gone() is None)

    gc.disable()
    try:
        following(server, use)
    finally:
        gc.enable()


def test_the_lag_is_the_time_since_all_changes_were_known(server, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: clock[0])

    async def use(service):
        await until(lambda: service.follower.lag_s == 0)
        clock[0] = 100.0  # no answer has come since
        assert service.follower.lag_s == 100
        await until(lambda: service.follower.lag_s == 0)

    following(server, use)
