"""Which feature state a new bundle ranks with."""

import json
import logging

import pytest

from ranker.spec_file import parse_spec
from ranker.store.keys import state_key
from serving.sync import hot_swap as module
from serving.sync.state_follower import StateFollower
from tests.serving.state_ranker import STATE_YAML, publish_state_ranker
from tests.serving.stored_states import LOG, begin, watermark_after, write_state
from tests.serving.swapping_service import Service, serving
from tests.serving.waiting import until


@pytest.fixture
def state_folder(tmp_path, server):
    """A registry whose bundle learns from the stream and has seen 200 rows, and an empty store."""
    return begin(tmp_path, server, 200)


def test_it_starts_with_the_stores_state_and_takes_up_newer_ones(state_folder, server):
    first = write_state(server, 300)

    async def use(service):
        assert service.models.model.state.version == first
        assert service.models.model.state.watermark_ms == watermark_after(300)
        second = write_state(server, 400)
        await until(lambda: service.models.model.state.version == second)
        assert service.metric('watchnext_swaps_total{result="done"}') == 0

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
    monkeypatch.setattr(module, "SLOW_WARM_UP_S", 0.0)
    Service(state_folder, server.url).worker.close()
    assert "compiles code" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        None,
        {"watermark_ms": 10**18},
        {"watermark_ms": -(10**18)},
        {"parts": 10**12},
        {"size": "x"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_pointer_that_cannot_be_read_stops_no_start_and_is_counted_and_named(
    state_folder, server, caplog, changes
):
    write_state(server, 300)
    with server.client() as client:
        [key] = [
            key
            for key in client.keys(state_key("*"))
            if client.type(key) == b"string" and key.count(b":") == 2
        ]
        pointer = b"\xff" if changes is None else json.dumps({**json.loads(client.get(key)), **changes})
        client.set(key, pointer)

    async def use(service):
        assert service.models.model.state.version is None
        assert service.metric("watchnext_undecodable_total") == 1
        assert f"{key.decode()}: expected a feature state's description" in caplog.text
        version = write_state(server, 400)
        await until(lambda: service.models.model.state.version == version)

    serving(state_folder, server, use)


def test_a_state_that_cannot_be_taken_up_stops_no_start(state_folder, server, monkeypatch, caplog):
    async def fail(self, model):
        raise OverflowError("a year of twenty digits")

    monkeypatch.setattr(StateFollower, "refresh", fail)

    async def use(service):
        assert "the feature state cannot be refreshed" in caplog.text
        assert service.models.model.state.watermark_ms == watermark_after(200)

    serving(state_folder, server, use)
