"""What a new model makes of the old one's feature state, and which of three is the newest."""

import numpy as np
import pytest

from ranker.bundles.bundle import unpack
from ranker.bundles.registry import Registry
from ranker.features.sides import Group
from ranker.spec_file import parse_spec
from ranker.store.state_store import StateStore
from serving.http.deadline import NO_DEADLINE
from serving.model.encoded_request import EncodedRequest, FetchedRecords
from serving.model.request_features import RequestFeatures
from serving.model.served_model import ServedModel
from serving.sync.state_follower import StateFollower
from tests.serving.state_ranker import STATE_YAML, packed_state_ranker, publish_state_ranker
from tests.serving.stored_states import LOG, begin, watermark_after, write_state
from tests.serving.swapping_service import serving
from tests.serving.waiting import until

END_MS = LOG.column("time_ms")[-1].as_py()
LATER_MS = END_MS + 3_600_000
OTHER_SPEC = parse_spec(
    STATE_YAML.replace("prior_strength: 2", "prior_strength: 500").replace(
        "  - {name: seen,", "  - {name: video_age, kind: age, since: duration_s}\n  - {name: seen,"
    ),
    where="test_state_hand_over.py",
)
"""Reads the same arrays otherwise, and has one more age, for which it needs none."""


@pytest.fixture
def folder(tmp_path, server):
    """A registry whose bundle has seen 400 rows, and an empty store."""
    return begin(tmp_path, server, 400)


def roll_back(folder, rows, **changes):
    """Make a bundle of fewer rows the current one."""
    return publish_state_ranker(folder, LOG.slice(0, rows), seed=2, **changes)


async def several_refreshes(service):
    """Wait until the store was looked at a few times."""
    looked, inner = [], service.states.refresh

    async def refresh(model):
        looked.append(model)
        return await inner(model)

    service.states.refresh = refresh
    await until(lambda: len(looked) > 3)
    service.states.refresh = inner


async def rank(service):
    """Have a few videos ranked of which only the ids are known."""
    ids = ["v1", "v2", "v3"]
    request = EncodedRequest(None, ids, RequestFeatures(), FetchedRecords(asked_ids=ids), LATER_MS)
    predictions, _ = await service.worker.predict(service.models.model, request, NO_DEADLINE)
    assert np.isfinite(predictions).all()


def pairs_known(model):
    """What the encoder of a model makes of a few pairs, as the network gets it."""
    encoder = model._encoder
    rows = [{"user_id": f"u{i % 8}", "video_id": f"v{i}", "tags": ["t1", f"t{i % 5}"]} for i in range(40)]
    words = encoder.records[Group.PAIR].of_rows(rows)
    return encoder.read(Group.PAIR, words, np.full(40, LATER_MS)).numbers.numpy()


def test_arrays_of_the_old_state_are_read_as_the_new_models_spec_says(folder, server):
    registry = Registry(str(folder))
    old = registry.read().encoder.feature_state

    async def use(service):
        version = roll_back(folder, 300, spec=OTHER_SPEC)
        expected = ServedModel(registry.read(version), 1)
        assert expected.state.features.digest == old.digest
        expected.state.features.load(old.state())
        expected.state.features.advance(LATER_MS)
        await service.until_it_ranks(version)
        model = service.models.model
        assert model.state.watermark_ms == watermark_after(400)
        np.testing.assert_array_equal(pairs_known(model), pairs_known(expected))
        await rank(service)

    serving(folder, server, use)


def test_the_old_model_ranks_as_before_once_its_state_was_handed_over(folder, server):
    async def use(service):
        old = service.models.model
        before = pairs_known(old)
        await service.until_it_ranks(roll_back(folder, 300, spec=OTHER_SPEC))
        assert service.models.model.state.features is not old.state.features
        np.testing.assert_array_equal(pairs_known(old), before)

    serving(folder, server, use)


@pytest.mark.parametrize("redis_is_there", [True, False])
def test_after_a_roll_back_the_newest_of_three_states_stays(folder, server, redis_is_there):
    """It is the old bundle's; the store's is newer than the new bundle's, and yet is not taken up later."""
    write_state(server, 350)

    async def use(service):
        if not redis_is_there:
            server.kill()
        try:
            await service.until_it_ranks(roll_back(folder, 300))
        finally:
            if not redis_is_there:
                server.start()
        await several_refreshes(service)
        assert service.models.model.state.version is None
        assert service.models.model.state.watermark_ms == watermark_after(400)

    serving(folder, server, use)


def test_a_state_that_was_begun_anew_is_taken_up_unless_it_is_older_than_the_bundle(folder, server):
    write_state(server, 350)

    async def use(service):
        await service.until_it_ranks(roll_back(folder, 300))
        anew = write_state(server, 320)  # of less than the state that was handed over
        await until(lambda: service.models.model.state.version == anew)
        write_state(server, 320, watermark_ms=watermark_after(300) - 1)
        await several_refreshes(service)
        assert service.models.model.state.version == anew

    serving(folder, server, use)


def test_the_stores_state_is_handed_over_if_it_is_the_newest(folder, server):
    version = write_state(server, 500)

    async def use(service):
        old = service.models.model
        await service.until_it_ranks(roll_back(folder, 300, spec=OTHER_SPEC))
        new = service.models.model
        assert new.state.version == old.state.version == version
        assert new.state.features is not old.state.features
        assert service.metric('watchnext_state_loads_total{result="done"}') == 1
        await rank(service)

    serving(folder, server, use)


def test_feedback_of_the_new_bundles_state_is_let_in_before_it_ranks(folder, server, monkeypatch):
    """Not in the thread of the model that ranks meanwhile."""
    held_back, inner = [], StateFollower.hand_over

    async def hand_over(self, old, new):
        held_back.append("_pending/times" in new.state.features.state())
        await inner(self, old, new)
        held_back.append("_pending/times" in new.state.features.state())

    monkeypatch.setattr(StateFollower, "hand_over", hand_over)

    async def use(service):
        await service.until_it_ranks(publish_state_ranker(folder, LOG.slice(0, 500), seed=2))
        assert held_back == [True, False]

    serving(folder, server, use)


def test_a_state_of_a_model_that_never_ranks_is_not_counted(folder, server, monkeypatch):
    def fail(*_):
        raise RuntimeError("no follower")

    async def use(service):
        monkeypatch.setattr("serving.sync.hot_swap.CatalogueFollower", fail)
        newer = unpack(packed_state_ranker(LOG), where="test").encoder.feature_state
        other = parse_spec(STATE_YAML.replace("half_lives: [1d]", "half_lives: [2d]"), where="test")
        others = unpack(packed_state_ranker(LOG, spec=other), where="test").encoder.feature_state
        assert others.digest != newer.digest
        with server.client() as client:
            StateStore(client, others.digest).write(others.state(), END_MS)
        publish_state_ranker(folder, LOG.slice(0, 300), seed=2, spec=other)
        await until(lambda: service.metric('watchnext_swaps_total{result="refused"}') == 1)
        assert service.metric('watchnext_state_loads_total{result="done"}') == 0

    serving(folder, server, use)


def test_while_the_state_cannot_be_refreshed_the_registry_is_asked_all_the_same(
    folder, server, monkeypatch, caplog
):
    async def refresh(self, model):
        raise RuntimeError("no state")

    async def use(service):
        monkeypatch.setattr(StateFollower, "refresh", refresh)
        await service.until_it_ranks(publish_state_ranker(folder, LOG.slice(0, 500), seed=2))
        assert "the feature state cannot be refreshed" in caplog.text
        assert "registry cannot be asked" not in caplog.text

    serving(folder, server, use)
