import asyncio
import logging

import numpy as np
import pytest

from ranker.bundles.registry import Registry
from ranker.features.encoder import Encoder
from ranker.features.sides import Group
from ranker.features.state.feature_state import FeatureState
from ranker.labels.matrix import label_matrix
from ranker.store.connection import connect_later
from ranker.store.keys import state_key
from ranker.store.state_store import StateStore
from serving.http.metrics import Metrics
from serving.http.service_time import ServiceTime
from serving.model.served_model import ServedModel
from serving.model.worker import ModelWorker
from serving.sync import state_follower as module
from serving.sync.state_follower import StateFollower
from tests.serving.metric_value import metric_value
from tests.serving.small_ranker import publish_small_ranker
from tests.serving.state_ranker import STATE_SPEC, log_of, publish_state_ranker

LOG = log_of(700)
TIMES = LOG.column("time_ms").to_numpy()
LEARNED = 300
"""Rows that the bundle has learned from."""


@pytest.fixture
def model(tmp_path):
    publish_state_ranker(tmp_path, LOG.slice(0, LEARNED))
    return ServedModel(Registry(str(tmp_path)).read(), 1)


def state_after(rows):
    """A state that has seen the log's first rows."""
    encoder = Encoder(STATE_SPEC)
    encoder.replay(LOG.slice(0, rows), label_matrix(LOG.slice(0, rows), STATE_SPEC.feedback))
    return encoder.feature_state


def write(client, rows, watermark_ms=None):
    """Store the state after the log's first rows."""
    state = state_after(rows)
    return StateStore(client, state.digest).write(state.state(), watermark_ms or int(TIMES[rows - 1]))


def following(server, use):
    """Run `use` with a follower and its metrics."""

    async def main():
        metrics = Metrics(frozenset())
        worker = ModelWorker(1, 10, metrics, ServiceTime())
        follower = StateFollower(connect_later(server.url, timeout_s=0.2), worker, metrics)
        try:
            await use(follower, metrics)
        finally:
            worker.close()
            await follower.close()

    asyncio.run(main())


def check_ranks_with(model, rows):
    """What is known of a few pairs is what a state after so many rows knows, all feedback let in."""
    expected = state_after(rows)
    expected.advance(2**53)
    encoder = model._encoder
    words = encoder.records[Group.PAIR].of_rows(
        [{"user_id": f"u{i % 8}", "video_id": f"v{i}", "tags": ["t1", f"t{i % 5}"]} for i in range(40)]
    )
    times = np.full(40, TIMES[-1] + 10_000_000)
    found, known = (
        state.look_up(Group.PAIR, words, encoder.records[Group.PAIR], times)
        for state in (encoder.feature_state, expected)
    )
    np.testing.assert_array_equal(found.numbers, known.numbers)


def test_a_newer_state_is_ranked_with(server, store, model):
    pointer = write(store, 700)

    async def use(follower, metrics):
        assert await follower.refresh(model)
        assert (model.state.watermark_ms, model.state.version) == (TIMES[-1], pointer.version)
        check_ranks_with(model, 700)
        assert metric_value(metrics, 'watchnext_state_loads_total{result="done"}') == 1
        assert metric_value(metrics, "watchnext_state_age_seconds") > 1e6

    following(server, use)


def test_a_state_is_read_once(server, store, model):
    write(store, 700)

    async def use(follower, metrics):
        assert await follower.refresh(model)
        state = model.state
        assert not await follower.refresh(model)
        assert model.state is state
        second = write(store, 650)  # of fewer rows, as after a restart: the newest is what was written last
        assert await follower.refresh(model)
        assert model.state.version == second.version

    following(server, use)


def test_a_state_older_than_the_bundle_is_not_used(server, store, model):
    write(store, LEARNED - 1, watermark_ms=int(TIMES[LEARNED - 1]) - 1)

    async def use(follower, metrics):
        assert not await follower.refresh(model)
        assert model.state.version is None
        check_ranks_with(model, LEARNED)

    following(server, use)


def test_feedback_whose_wait_is_over_is_let_in_without_a_newer_state(server, store, model):
    assert model.state.features.state()["_pending/times"].size > 0

    async def use(follower, metrics):
        await follower.refresh(model)
        assert "_pending/times" not in model.state.features.state()
        check_ranks_with(model, LEARNED)

    following(server, use)


def test_a_damaged_state_is_refused_and_a_later_one_taken(server, store, model, caplog):
    pointer = write(store, 700)
    store.setrange(pointer.part_keys[0], pointer.size // 2, b"!!!!")

    async def use(follower, metrics):
        for _ in range(3):
            assert not await follower.refresh(model)
        assert model.state.version is None
        check_ranks_with(model, LEARNED)
        assert metric_value(metrics, 'watchnext_state_loads_total{result="refused"}') == 1
        assert caplog.text.count(f"the feature state {pointer.version} is refused") == 1
        write(store, 700)
        assert await follower.refresh(model)

    following(server, use)


def test_a_state_without_all_of_its_arrays_is_refused(server, store, model, caplog):
    digest = model.state.features.digest
    StateStore(store, digest).write({"something": np.ones(3)}, int(TIMES[-1]))

    async def use(follower, metrics):
        assert not await follower.refresh(model)
        assert "is refused, the one of before goes on" in caplog.text
        check_ranks_with(model, LEARNED)

    following(server, use)


@pytest.fixture
def little_memory(monkeypatch):
    """As long as the list has an entry, no state can be loaded."""
    inner, little = FeatureState.load, ["little"]

    def load(self, arrays):
        if little:
            raise MemoryError
        inner(self, arrays)

    monkeypatch.setattr(FeatureState, "load", load)
    return little


def test_a_state_for_which_there_was_no_memory_is_looked_at_again(
    server, store, model, monkeypatch, little_memory, caplog
):
    monkeypatch.setattr(module, "RETRY_REFUSED_S", 0.0)
    pointer = write(store, 700)

    async def use(follower, metrics):
        for _ in range(2):
            assert not await follower.refresh(model)
        assert f"the feature state {pointer.version} is refused" in caplog.text
        assert "MemoryError" in caplog.text
        assert (
            metric_value(metrics, 'watchnext_state_loads_total{result="refused"}') == 1
        )  # however often read
        check_ranks_with(model, LEARNED)
        little_memory.clear()
        assert await follower.refresh(model)
        check_ranks_with(model, 700)

    following(server, use)


def test_a_state_for_which_there_was_no_memory_is_not_looked_at_every_time(
    server, store, model, little_memory, caplog
):
    pointer = write(store, 700)

    async def use(follower, metrics):
        for _ in range(3):
            assert not await follower.refresh(model)
        assert caplog.text.count(f"the feature state {pointer.version} is refused") == 1

    following(server, use)


@pytest.mark.parametrize("content", [b"no JSON", b"{}"])
def test_a_pointer_that_is_none_is_said_once(server, store, model, content, caplog):
    store.set(state_key(model.state.features.digest), content)

    async def use(follower, metrics):
        for _ in range(3):
            assert not await follower.refresh(model)
        assert caplog.text.count("the feature state stays as it is") == 1
        write(store, 700)
        assert await follower.refresh(model)

    following(server, use)


def test_without_redis_the_model_goes_on_and_takes_up_what_comes(server, store, model, caplog):
    caplog.set_level(logging.INFO)
    write(store, 700)
    server.kill()

    async def use(follower, metrics):
        for _ in range(2):
            assert not await follower.refresh(model)
        assert caplog.text.count("the feature state stays as it is") == 1
        check_ranks_with(model, LEARNED)
        assert metric_value(metrics, "watchnext_state_age_seconds") > 1e6
        server.start()
        assert await follower.refresh(model)
        check_ranks_with(model, 700)

    following(server, use)


def test_a_silent_redis_is_not_waited_for_long(server, store, model):
    write(store, 700)
    server.stop()

    async def use(follower, metrics):
        assert not await follower.refresh(model)
        server.go_on()
        assert await follower.refresh(model)

    following(server, use)


def test_a_model_without_such_features_asks_for_none(server, tmp_path):
    publish_small_ranker(tmp_path)
    model = ServedModel(Registry(str(tmp_path)).read(), 1)

    async def use(follower, metrics):
        metrics.state_age(77)  # that of the model before it
        assert not await follower.refresh(model)
        assert metric_value(metrics, "watchnext_state_age_seconds") == 0

    server.stop()
    try:
        following(server, use)
    finally:
        server.go_on()
