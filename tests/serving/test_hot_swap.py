import asyncio
import gc
import json
import logging
import threading
import weakref
from contextlib import asynccontextmanager
from time import monotonic, sleep

import numpy as np
import pytest

from ranker.bundles.bundle import MODEL, unpack
from ranker.bundles.registry import Registry
from ranker.errors import BundleError
from ranker.spec_file import parse_spec
from ranker.store.connection import connect_async, connect_later
from ranker.store.feature_state import StateStore
from serving import hot_swap as module
from serving.feature_store import FeatureStore
from serving.hot_swap import HotSwap
from serving.metrics import Metrics
from serving.model_worker import ModelWorker
from serving.pace import Pace
from serving.schemas import RankRequest
from serving.served_model import Query, ServedModel, Stored
from serving.state_follower import StateFollower
from tests.serving.small_ranker import (
    OTHER_RECORDS_SPEC,
    SPEC,
    packed_ranker,
    publish_small_ranker,
    store_rows,
)
from tests.serving.state_ranker import STATE_YAML, log_of, packed_state_ranker, publish_state_ranker
from tests.serving.waiting import until

ROWS = [{"video_id": f"v{i}", "duration_s": float(i)} for i in range(50)]


@pytest.fixture
def folder(tmp_path, server):
    """A registry with one version, and a store with its videos."""
    with server.client() as client:
        client.flushall()
        store_rows(client, videos=ROWS)
    publish_small_ranker(tmp_path, seed=1)
    return tmp_path


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch):
    monkeypatch.setattr(module, "POLL_S", 0.02)
    monkeypatch.setattr("serving.follower.BLOCK_MS", 50)


class Service:
    def __init__(self, folder, url):
        self.metrics = Metrics(frozenset())
        self.store = FeatureStore(connect_async(url, timeout_s=1), 1, self.metrics)
        self.listening = connect_async(url, timeout_s=1, block_s=0.05)
        self.worker = ModelWorker(1, 512, self.metrics, Pace())
        self.states = StateFollower(connect_later(url, timeout_s=0.2), self.worker, self.metrics)
        self.models = HotSwap(
            Registry(str(folder)),
            self.store,
            self.listening,
            self.worker,
            self.states,
            self.metrics,
            catalogue_bytes=1,
            device="cpu",
        )

    @property
    def version(self):
        return self.models.model.manifest.model_version

    def told(self, what):
        [line] = [line for line in self.metrics.exposition().decode().splitlines() if line.startswith(what)]
        return float(line.split()[-1])

    async def until_it_ranks(self, version):
        await until(lambda: self.version == version)

    async def rank(self, model, count=3):
        ids = [row["video_id"] for row in ROWS[:count]]
        body = {"user": {"id": "u"}, "candidates": [{"id": video_id} for video_id in ids]}
        carried = model.reader.read(RankRequest.model_validate(body))
        ranked, _ = await self.worker.rank(model, Query(None, ids, carried, Stored(), None), None)
        return ranked.predictions[np.argsort(ranked.order)]


def serving(folder, server, use):
    @asynccontextmanager
    async def service():
        one = Service(folder, server.url)
        await one.models.start()
        try:
            yield one
        finally:
            await one.models.stop()
            one.worker.close()
            one.states.close()
            await one.store.close()
            await one.listening.aclose()

    async def main():
        async with service() as one:
            return await use(one)

    return asyncio.run(main())


def spoil(folder, version, name, change):
    path = folder / "bundles" / version / name
    path.write_bytes(change(path.read_bytes()))


def flipped(content):
    place = len(content) * 3 // 4
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def lying(content):
    return json.dumps({**json.loads(content), "watermark_ms": 1}).encode()


def test_a_published_bundle_takes_over_with_the_videos_of_the_old_one(folder, server):
    registry = Registry(str(folder))

    async def use(service):
        old, first = service.models.model, service.version
        assert len(old.catalogue) == 50
        second = publish_small_ranker(folder, seed=2)
        await service.until_it_ranks(second)
        new = service.models.model
        assert new.catalogue.lacking([row["video_id"] for row in ROWS]) == []
        for model, version in ((old, first), (new, second)):  # a request under way goes on with the old one
            expected = registry.read(version).predict({"user_id": "u"}, ROWS[:3])
            np.testing.assert_allclose(await service.rank(model), expected, rtol=1e-4)
        assert service.told('watchnext_swaps_total{result="done"}') == 1
        assert service.told(f'watchnext_model_processes{{model_version="{second}"}}') == 1
        assert service.told(f'watchnext_model_processes{{model_version="{first}"}}') == 0

    serving(folder, server, use)


def test_memory_is_given_back_once_a_swap_with_nothing_of_the_old_model_in_use(folder, server, monkeypatch):
    """The collector of cycles may come late, so nothing may be left to it."""
    old, given_back = [], []

    def give_back():
        deadline = monotonic() + 10
        while old[-1]() is not None and monotonic() < deadline:
            sleep(0.01)  # the model's thread forgets its last errand with the next
        given_back.append(old[-1]() is None)

    monkeypatch.setattr(module, "give_back", give_back)

    async def use(service):
        for seed in (2, 3):
            old.append(weakref.ref(service.models.model))
            await service.until_it_ranks(publish_small_ranker(folder, seed=seed))
            await service.rank(service.models.model)
            await until(lambda: len(given_back) == len(old))
        await asyncio.sleep(0.2)
        assert given_back == [True, True]

    gc.disable()
    try:
        serving(folder, server, use)
    finally:
        gc.enable()


def test_a_roll_back_is_taken_up_too(folder, server):
    async def use(service):
        first = service.version
        second = publish_small_ranker(folder, seed=2)
        await service.until_it_ranks(second)
        Registry(str(folder)).make_current(first)
        await service.until_it_ranks(first)

    serving(folder, server, use)


def test_a_bundle_with_other_records_reads_its_own(folder, server):
    with server.client() as client:
        store_rows(client, videos=[{**row, "author": "x"} for row in ROWS[:7]], spec=OTHER_RECORDS_SPEC)

    async def use(service):
        await service.until_it_ranks(publish_small_ranker(folder, seed=2, spec=OTHER_RECORDS_SPEC))
        catalogue = service.models.model.catalogue
        assert len(catalogue) == 7
        expected = catalogue.layout.of_rows([{**ROWS[3], "author": "x"}])
        np.testing.assert_array_equal(catalogue.copies(["v3"])[1], expected)
        changed = {"video_id": "v3", "author": "y"}
        store_rows(server.client(), videos=[changed], spec=OTHER_RECORDS_SPEC)
        expected = catalogue.layout.of_rows([changed])
        await until(lambda: np.array_equal(catalogue.copies(["v3"])[1], expected))

    serving(folder, server, use)


@pytest.mark.parametrize(
    ("name", "change"), [(MODEL, flipped), ("manifest.json", lying), ("spec.yaml", lambda _: b"{}")]
)
def test_a_bundle_that_does_not_verify_is_refused_and_a_later_one_taken(folder, server, name, change, caplog):
    async def use(service):
        first = service.version
        bad = publish_small_ranker(folder, seed=2)
        Registry(str(folder)).make_current(first)
        spoil(folder, bad, name, change)
        (folder / "current.json").write_text(json.dumps({"version": bad}))
        await until(lambda: service.told('watchnext_swaps_total{result="refused"}') == 1)
        assert service.version == first
        assert f"{bad} is refused, {first} goes on" in caplog.text
        await service.rank(service.models.model)
        third = publish_small_ranker(folder, seed=3)
        await service.until_it_ranks(third)

    serving(folder, server, use)


def test_a_bundle_whose_files_were_incomplete_is_looked_at_again(folder, server, monkeypatch):
    monkeypatch.setattr(module, "REFUSED_S", 0.2)

    async def use(service):
        first = service.version
        version = publish_small_ranker(folder, seed=2)
        Registry(str(folder)).make_current(first)
        whole = (folder / "bundles" / version / MODEL).read_bytes()
        spoil(folder, version, MODEL, flipped)
        (folder / "current.json").write_text(json.dumps({"version": version}))
        await until(lambda: service.told('watchnext_swaps_total{result="refused"}') == 1)
        await asyncio.sleep(0.5)
        assert (
            service.told('watchnext_swaps_total{result="refused"}') == 1
        )  # counted once, however often read
        spoil(folder, version, MODEL, lambda _: whole)
        await service.until_it_ranks(version)

    serving(folder, server, use)


@pytest.mark.parametrize("content", [b"{}", b"no JSON", b'{"version": "nothing"}', None])
def test_a_damaged_registry_does_not_end_the_watch(folder, server, content, caplog):
    current = folder / "current.json"

    async def use(service):
        first = service.version
        current.unlink()
        if content is not None:
            current.write_bytes(content)
        await until(lambda: "registry cannot be asked" in caplog.text or "is refused" in caplog.text)
        assert service.version == first
        await service.until_it_ranks(publish_small_ranker(folder, seed=2))

    serving(folder, server, use)


def test_a_model_that_cannot_be_made_ready_is_refused(folder, server, monkeypatch):
    async def use(service):
        def fail(self):
            raise RuntimeError("out of memory")

        first = service.version
        with monkeypatch.context() as patch:
            patch.setattr(ServedModel, "warm_up", fail)
            publish_small_ranker(folder, seed=2)
            await until(lambda: service.told('watchnext_swaps_total{result="refused"}') == 1)
        assert service.version == first
        await service.until_it_ranks(publish_small_ranker(folder, seed=3))

    serving(folder, server, use)


@pytest.mark.parametrize("spec", [SPEC, OTHER_RECORDS_SPEC], ids=["same records", "other records"])
def test_a_change_during_the_swap_is_not_lost(folder, server, spec, monkeypatch):
    """The videos of the new model are copied or read, then one changes, then the new model takes over."""
    store_rows(server.client(), videos=ROWS, spec=spec)
    filled, changed = threading.Event(), threading.Event()
    inner = HotSwap._copied

    async def copied(self, old, new, position):
        found = await inner(self, old, new, position)
        filled.set()
        await until(changed.is_set)
        return found

    monkeypatch.setattr(HotSwap, "_copied", copied)
    late = {"video_id": "v1", "duration_s": 4321.0}

    async def use(service):
        version = publish_small_ranker(folder, seed=2, spec=spec)
        await until(filled.is_set)
        store_rows(server.client(), videos=[late], spec=spec)
        changed.set()
        await service.until_it_ranks(version)
        catalogue = service.models.model.catalogue
        expected = catalogue.layout.of_rows([late])
        await until(lambda: np.array_equal(catalogue.copies(["v1"])[1], expected))
        assert catalogue.lacking([row["video_id"] for row in ROWS]) == []

    serving(folder, server, use)


def test_without_a_good_bundle_nothing_starts(tmp_path, server):
    Registry(str(tmp_path)).publish(packed_ranker())
    spoil(tmp_path, Registry(str(tmp_path)).current(), MODEL, flipped)
    with pytest.raises(BundleError, match="the file was changed"):
        Service(tmp_path, server.url)


def test_while_redis_is_away_a_bundle_takes_over_all_the_same(folder, server, caplog):
    caplog.set_level(logging.INFO)

    async def use(service):
        server.kill()
        await service.until_it_ranks(publish_small_ranker(folder, seed=2))
        assert len(service.models.model.catalogue) == 50
        server.start()
        store_rows(server.client(), videos=[{"video_id": "late"}])
        catalogue = service.models.model.catalogue
        await until(lambda: catalogue.lacking(["late"]) == [])

    serving(folder, server, use)


LOG = log_of(600)


@pytest.fixture
def state_folder(tmp_path, server):
    """A registry whose bundle learns from the stream and has seen 200 rows, and an empty store."""
    with server.client() as client:
        client.flushall()
    publish_state_ranker(tmp_path, LOG.slice(0, 200))
    return tmp_path


def write_state(server, rows):
    """Store the state that a bundle of so many rows has; return its version."""
    bundle = unpack(packed_state_ranker(LOG.slice(0, rows)), where="test")
    state = bundle.encoder.feature_state
    return (
        StateStore(server.client(), state.digest).write(state.state(), bundle.manifest.watermark_ms).version
    )


def watermark_after(rows):
    return LOG.column("time_ms")[rows - 1].as_py()


def test_it_starts_with_the_stores_state_and_takes_up_newer_ones(state_folder, server):
    first = write_state(server, 300)

    async def use(service):
        assert service.models.model.state.version == first
        assert service.models.model.state.watermark_ms == watermark_after(300)
        second = write_state(server, 400)
        await until(lambda: service.models.model.state.version == second)
        assert service.told('watchnext_swaps_total{result="done"}') == 0

    serving(state_folder, server, use)


def test_a_new_bundle_ranks_with_the_newest_of_its_own_state_and_the_stores(state_folder, server):
    version = write_state(server, 400)

    async def use(service):
        older = publish_state_ranker(state_folder, LOG.slice(0, 300), seed=2)
        await service.until_it_ranks(older)
        assert service.models.model.state.version == version
        newer = publish_state_ranker(state_folder, LOG.slice(0, 500), seed=3)
        await service.until_it_ranks(newer)
        assert service.models.model.state.version is None
        assert service.models.model.state.watermark_ms == watermark_after(500)

    serving(state_folder, server, use)


def test_without_redis_a_new_bundle_ranks_with_the_state_of_the_old_one_if_that_is_newer(
    state_folder, server
):
    version = write_state(server, 400)

    async def use(service):
        server.kill()
        try:
            await service.until_it_ranks(publish_state_ranker(state_folder, LOG.slice(0, 300), seed=2))
            assert service.models.model.state.version == version
            await service.until_it_ranks(publish_state_ranker(state_folder, LOG.slice(0, 500), seed=3))
            assert service.models.model.state.version is None
        finally:
            server.start()

    serving(state_folder, server, use)


def test_a_bundle_of_other_features_does_not_rank_with_the_state_of_the_old_one(state_folder, server):
    write_state(server, 400)
    spec = parse_spec(STATE_YAML.replace("label_wait: 60s", "label_wait: 30s"), where="test")

    async def use(service):
        await service.until_it_ranks(publish_state_ranker(state_folder, LOG.slice(0, 300), seed=2, spec=spec))
        assert service.models.model.state.version is None
        assert service.models.model.state.watermark_ms == watermark_after(300)

    serving(state_folder, server, use)


def test_what_takes_long_at_the_first_start_is_said(state_folder, server, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module, "LONG_S", 0.0)
    Service(state_folder, server.url).worker.close()
    assert "compiles code" in caplog.text
