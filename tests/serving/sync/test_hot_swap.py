import asyncio
import gc
import logging
import threading
import weakref
from time import monotonic, sleep

import numpy as np
import pytest

from ranker.bundles.registry import Registry
from serving.model.served_model import ServedModel
from serving.sync import hot_swap as module
from tests.serving.small_ranker import (
    OTHER_RECORDS_SPEC,
    SPEC,
    publish_small_ranker,
    store_rows,
)
from tests.serving.swapping_service import ROWS, serving
from tests.serving.waiting import until


def test_a_published_bundle_takes_over_with_the_videos_of_the_old_one(folder, server):
    registry = Registry(str(folder))

    async def use(service):
        old, first = service.models.model, service.version
        assert len(old.catalogue) == 50
        second = publish_small_ranker(folder, seed=2)
        await service.until_it_ranks(second)
        new = service.models.model
        assert new.catalogue.missing([row["video_id"] for row in ROWS]) == []
        for model, version in ((old, first), (new, second)):  # a request under way goes on with the old one
            expected = registry.read(version).predict({"user_id": "u"}, ROWS[:3])
            np.testing.assert_allclose(await service.rank(model), expected, rtol=1e-4)
        assert service.metric('watchnext_swaps_total{result="done"}') == 1
        assert service.metric(f'watchnext_model_processes{{model_version="{second}"}}') == 1
        assert service.metric(f'watchnext_model_processes{{model_version="{first}"}}') == 0

    serving(folder, server, use)


def test_memory_is_released_once_a_swap_with_nothing_of_the_old_model_in_use(folder, server, monkeypatch):
    """The collector of cycles may come late, so nothing may be left to it."""
    old, released = [], []

    def release_free_memory():
        deadline = monotonic() + 10
        while old[-1]() is not None and monotonic() < deadline:
            sleep(0.01)  # the model's thread drops its last job with the next one
        released.append(old[-1]() is None)

    monkeypatch.setattr(module, "release_free_memory", release_free_memory)

    async def use(service):
        for seed in (2, 3):
            old.append(weakref.ref(service.models.model))
            await service.until_it_ranks(publish_small_ranker(folder, seed=seed))
            await service.rank(service.models.model)
            await until(lambda: len(released) == len(old))
        await asyncio.sleep(0.2)
        assert released == [True, True]

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


def test_a_registry_on_a_disk_is_asked_more_often_than_redis(folder, server, monkeypatch):
    async def use(service):
        monkeypatch.setattr(module, "POLL_S", 3600.0)
        await service.models.stop()
        await service.models.start()
        await service.until_it_ranks(publish_small_ranker(folder, seed=2))

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


def test_a_model_that_cannot_be_made_ready_is_refused(folder, server, monkeypatch):
    async def use(service):
        def fail(self):
            raise RuntimeError("out of memory")

        first = service.version
        with monkeypatch.context() as patch:
            patch.setattr(ServedModel, "warm_up", fail)
            publish_small_ranker(folder, seed=2)
            await until(lambda: service.metric('watchnext_swaps_total{result="refused"}') == 1)
        assert service.version == first
        await service.until_it_ranks(publish_small_ranker(folder, seed=3))

    serving(folder, server, use)


@pytest.mark.parametrize("spec", [SPEC, OTHER_RECORDS_SPEC], ids=["same records", "other records"])
def test_a_change_during_the_swap_is_not_lost(folder, server, spec, monkeypatch):
    """The videos of the new model are copied or read, then one changes, then the new model takes over."""
    store_rows(server.client(), videos=ROWS, spec=spec)
    service_ranks, filled, changed = threading.Event(), threading.Event(), threading.Event()
    inner = ServedModel.put_videos

    def put_videos(self, *args, **options):
        inner(self, *args, **options)
        if service_ranks.is_set() and not filled.is_set():
            filled.set()
            assert changed.wait(30)

    monkeypatch.setattr(ServedModel, "put_videos", put_videos)
    late = {"video_id": "v1", "duration_s": 4321.0}

    async def use(service):
        service_ranks.set()
        version = publish_small_ranker(folder, seed=2, spec=spec)
        await until(filled.is_set)
        store_rows(server.client(), videos=[late], spec=spec)
        changed.set()
        await service.until_it_ranks(version)
        catalogue = service.models.model.catalogue
        expected = catalogue.layout.of_rows([late])
        await until(lambda: np.array_equal(catalogue.copies(["v1"])[1], expected))
        assert catalogue.missing([row["video_id"] for row in ROWS]) == []

    serving(folder, server, use)


def test_the_bundle_that_ranks_is_held_and_the_one_before_is_not(folder, server):
    registry = Registry(str(folder))

    async def use(service):
        first = service.version
        assert registry.is_held(first)
        second = publish_small_ranker(folder, seed=2)
        await service.until_it_ranks(second)
        assert (registry.is_held(first), registry.is_held(second)) == (False, True)

    serving(folder, server, use)
    assert not registry.is_held(registry.current())


def test_while_redis_is_away_a_bundle_takes_over_all_the_same(folder, server, caplog):
    caplog.set_level(logging.INFO)

    async def use(service):
        server.kill()
        await service.until_it_ranks(publish_small_ranker(folder, seed=2))
        assert len(service.models.model.catalogue) == 50
        server.start()
        store_rows(server.client(), videos=[{"video_id": "late"}])
        catalogue = service.models.model.catalogue
        await until(lambda: catalogue.missing(["late"]) == [])

    serving(folder, server, use)


def test_an_absence_of_redis_is_noticed_where_nobody_asks_for_features(folder, server):
    async def use(service):
        assert service.metric("watchnext_feature_store_answers") == 1
        server.kill()
        await until(lambda: service.metric("watchnext_feature_store_answers") == 0)
        server.start()
        await until(lambda: service.metric("watchnext_feature_store_answers") == 1)

    serving(folder, server, use)
