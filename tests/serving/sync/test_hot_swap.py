import asyncio
import gc
import json
import logging
import os
import threading
import weakref
from time import monotonic, sleep

import numpy as np
import pytest

from ranker.bundles.bundle import MODEL
from ranker.bundles.registry import Registry
from ranker.errors import BundleError
from serving.model.served_model import ServedModel
from serving.sync import hot_swap as module
from tests.ranker.bundles.small_bundle import publish
from tests.serving.small_ranker import (
    OTHER_RECORDS_SPEC,
    SPEC,
    packed_ranker,
    publish_small_ranker,
    store_rows,
)
from tests.serving.swapping_service import ROWS, Service, serving
from tests.serving.waiting import until


@pytest.fixture
def folder(tmp_path, server):
    """A registry with one version, and a store with its videos."""
    with server.client() as client:
        client.flushall()
        store_rows(client, videos=ROWS)
    publish_small_ranker(tmp_path, seed=1)
    return tmp_path


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
        await until(lambda: service.metric('watchnext_swaps_total{result="refused"}') == 1)
        assert service.version == first
        assert f"{bad} is refused, {first} goes on" in caplog.text
        await service.rank(service.models.model)
        third = publish_small_ranker(folder, seed=3)
        await service.until_it_ranks(third)

    serving(folder, server, use)


def test_a_bundle_whose_files_were_incomplete_is_looked_at_again(folder, server, monkeypatch):
    monkeypatch.setattr(module, "RETRY_REFUSED_S", 0.2)

    async def use(service):
        first = service.version
        version = publish_small_ranker(folder, seed=2)
        Registry(str(folder)).make_current(first)
        whole = (folder / "bundles" / version / MODEL).read_bytes()
        spoil(folder, version, MODEL, flipped)
        (folder / "current.json").write_text(json.dumps({"version": version}))
        await until(lambda: service.metric('watchnext_swaps_total{result="refused"}') == 1)
        await asyncio.sleep(0.5)
        assert (
            service.metric('watchnext_swaps_total{result="refused"}') == 1
        )  # counted once, however often read
        spoil(folder, version, MODEL, lambda _: whole)
        await service.until_it_ranks(version)

    serving(folder, server, use)


def test_a_refused_bundle_is_not_read_every_time(folder, server, monkeypatch):
    """Reading one takes seconds and its memory."""
    reads, looks = [], []
    read, current = Registry.read, Registry.current
    monkeypatch.setattr(
        Registry, "read", lambda self, version=None: reads.append(version) or read(self, version)
    )
    monkeypatch.setattr(Registry, "current", lambda self: looks.append(1) or current(self))

    async def use(service):
        first = service.version
        bad = publish_small_ranker(folder, seed=2)
        Registry(str(folder)).make_current(first)
        spoil(folder, bad, MODEL, flipped)
        (folder / "current.json").write_text(json.dumps({"version": bad}))
        await until(lambda: service.metric('watchnext_swaps_total{result="refused"}') == 1)
        looks.clear()
        await until(lambda: len(looks) > 10)
        assert reads.count(bad) == 1

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


def test_without_a_good_bundle_nothing_starts(tmp_path, server):
    publish(Registry(str(tmp_path)), packed_ranker())
    spoil(tmp_path, Registry(str(tmp_path)).current(), MODEL, flipped)
    with pytest.raises(BundleError, match="the file was changed"):
        Service(tmp_path, server.url)


def test_a_damaged_current_bundle_is_stood_in_for_until_it_is_whole_again(
    folder, server, caplog, monkeypatch
):
    monkeypatch.setattr(module, "RETRY_REFUSED_S", 0.1)
    first = Registry(str(folder)).current()
    second = publish_small_ranker(folder, seed=2)
    whole = (folder / "bundles" / second / MODEL).read_bytes()
    spoil(folder, second, MODEL, flipped)

    async def use(service):
        assert (service.version, service.models.refused) == (first, second)
        assert f"{first} ranks in its place" in caplog.text
        assert f"{second}/{MODEL}: expected sha256" in caplog.text
        spoil(folder, second, MODEL, lambda _: whole)
        await service.until_it_ranks(second)
        assert service.models.refused is None

    serving(folder, server, use)


def test_a_pipe_in_the_registry_stops_neither_the_service_nor_its_end(folder, server, caplog):
    current = folder / "current.json"

    async def use(service):
        first = service.version
        current.unlink()
        os.mkfifo(current)
        await until(lambda: "cannot be asked for its current version" in caplog.text)
        assert service.version == first
        looked = service.metric("watchnext_registry_last_look_timestamp_seconds")
        await asyncio.sleep(2 * module.POLL_S)
        assert service.metric("watchnext_registry_last_look_timestamp_seconds") == looked
        current.unlink()
        await service.until_it_ranks(publish_small_ranker(folder, seed=2))
        assert service.metric("watchnext_registry_last_look_timestamp_seconds") > looked
        assert caplog.text.count("cannot be asked") == 1

    serving(folder, server, use)


def test_a_registry_that_hangs_is_not_waited_for(folder, server, caplog, monkeypatch):
    released = threading.Event()
    asked = Registry.current

    def hang(self):
        released.wait(60)
        return asked(self)

    async def use(service):
        monkeypatch.setattr(module, "ASK_S", 0.05)
        monkeypatch.setattr(Registry, "current", hang)
        await until(lambda: "expected an answer within 0.05 s, found none" in caplog.text)
        await service.rank(service.models.model)
        monkeypatch.setattr(Registry, "current", asked)
        released.set()
        await service.until_it_ranks(publish_small_ranker(folder, seed=2))

    try:
        serving(folder, server, use)
    finally:
        released.set()


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
