"""A registry that is damaged, incomplete or hangs, beside a service that ranks."""

import asyncio
import json
import os
import threading

import pytest

from ranker.bundles.bundle import MODEL
from ranker.bundles.registry import Registry
from ranker.errors import BundleError
from serving.sync import hot_swap as module
from tests.serving.small_ranker import (
    publish_small_ranker,
)
from tests.serving.swapping_service import Service, serving
from tests.serving.waiting import until


def spoil(folder, version, name, change):
    path = folder / "bundles" / version / name
    path.write_bytes(change(path.read_bytes()))


def flipped(content):
    place = len(content) * 3 // 4
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def lying(content):
    return json.dumps({**json.loads(content), "watermark_ms": 1}).encode()


async def refused_version(service, folder, name, change):
    """Make a version current one file of which is changed, and wait until the service has refused it."""
    bad = publish_small_ranker(folder, seed=2)
    Registry(str(folder)).make_current(service.version)
    spoil(folder, bad, name, change)
    (folder / "current.json").write_text(json.dumps({"version": bad}))
    await until(lambda: service.metric('watchnext_swaps_total{result="refused"}') == 1)
    return bad


@pytest.mark.parametrize(
    ("name", "change"), [(MODEL, flipped), ("manifest.json", lying), ("spec.yaml", lambda _: b"{}")]
)
def test_a_bundle_that_does_not_verify_is_refused_and_a_later_one_taken(folder, server, name, change, caplog):
    async def use(service):
        first = service.version
        bad = await refused_version(service, folder, name, change)
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
        bad = await refused_version(service, folder, MODEL, flipped)
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


def test_without_a_good_bundle_nothing_starts(tmp_path, server):
    spoil(tmp_path, publish_small_ranker(tmp_path), MODEL, flipped)
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
