"""What is ranked by is the bundle's own prediction, from wherever the features come."""

from collections import Counter

import numpy as np
import pytest
import torch

from ranker.errors import EvictedError
from ranker.features.kinds.cross import CrossFeature
from ranker.features.sides import Side
from ranker.networks.sharing.registry import kind_names
from serving.model import catalogue as catalogue_module
from serving.model.served_model import Query, ServedModel, Stored
from serving.schemas import RankRequest
from tests.ranker.small_spec import SMALL_SPEC, small_spec
from tests.serving.ranked_world import RECORDS_SEEN, World, bundle_of, close

SPECS = {
    "mmoe": SMALL_SPEC,
    "shared_bottom": small_spec(kind="shared_bottom"),
    "nothing shared": small_spec(shared=()),
    "no linear part": small_spec(linear=False),
    "no pairs": SMALL_SPEC.model_copy(
        update={
            "features": tuple(
                f for f in SMALL_SPEC.features if not isinstance(f, CrossFeature) and f.side is not Side.PAIR
            )
        }
    ),
    "crosses are the only pairs": SMALL_SPEC.model_copy(
        update={
            "features": tuple(
                f for f in SMALL_SPEC.features if isinstance(f, CrossFeature) or f.side is not Side.PAIR
            )
        }
    ),
    "no ids": SMALL_SPEC.model_copy(
        update={
            "features": tuple(
                f
                for f in SMALL_SPEC.features
                if f.name not in ("video_id", "user_id", "query_video_id", "user_hour", "user_topic")
            )
        }
    ),
}


BUNDLES = {name: bundle_of(spec) for name, spec in SPECS.items()}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("seed", range(3))
def test_from_wherever_features_come_the_prediction_is_the_bundles(name, seed):
    world = World(BUNDLES[name], seed)
    world.make_resident(list(world.videos)[:15])
    for _ in range(5):  # what was fetched for one is resident for the next
        query, columns = world.ask()
        [found] = world.model.predict([query])
        close(found, world.expected(columns))


@pytest.mark.parametrize("name", SPECS)
def test_a_request_is_ranked_the_same_alone_and_among_others(name):
    world = World(BUNDLES[name], seed=3)
    asked = []
    for count in (12, 1, 7, 20):
        world.count = count
        asked.append(world.ask())
    together = world.model.predict([query for query, _ in asked])
    for found, (query, columns) in zip(together, asked, strict=True):
        [alone] = world.model.predict([query])
        close(found, alone)
        close(found, world.expected(columns))


@pytest.mark.parametrize("kind", kind_names())
def test_bfloat16_is_near_the_bundle(kind):
    world = World(bundle_of(small_spec(kind=kind)), seed=4, count=30)
    world.model = ServedModel(world.bundle, 1, torch.bfloat16)
    binary = [place for place, task in enumerate(SMALL_SPEC.tasks) if task.kind == "binary"]
    for _ in range(10):
        query, columns = world.ask()
        [found] = world.model.predict([query])
        # The weights of this network are drawn wide, so its logits are twice those of a trained one.
        np.testing.assert_allclose(found[:, binary], world.expected(columns)[:, binary], atol=0.02)


def test_videos_with_rows_of_their_own_are_told_apart_and_others_are_not():
    world = World(BUNDLES["mmoe"], seed=5)
    seen = RECORDS_SEEN.column("video_id").to_pylist() + RECORDS_SEEN.column("query_video_id").to_pylist()
    often = [str(video) for video, count in Counter(seen).items() if video is not None and count > 3][:3]
    ids = [*often, "never seen", "nor was this"]
    carried = world.model.reader.read(
        RankRequest.model_validate({"user": {"id": "u"}, "candidates": [{"id": name} for name in ids]})
    )

    [found] = world.model.predict([Query(None, ids, carried, Stored(asked=ids), 0)])

    close(found, world.bundle.predict({"user_id": "u"}, [{"video_id": name} for name in ids]))
    assert len(np.unique(found[:, 0])) == 4
    np.testing.assert_array_equal(found[3], found[4])


def tiny_world(monkeypatch):
    """A world whose catalogue has room for the candidates of two requests."""
    monkeypatch.setattr(catalogue_module, "LEAST_VIDEOS", 26)
    return World(BUNDLES["mmoe"], seed=6)


def test_a_tiny_catalogue_changes_no_prediction(monkeypatch):
    world = tiny_world(monkeypatch)
    refused = 0
    for _ in range(12):
        batch = [world.ask() for _ in range(3)]
        for found, (query, columns) in zip(world.model.predict([q for q, _ in batch]), batch, strict=True):
            if isinstance(found, EvictedError):
                refused += 1
                known = {v: world.record(v) for v in query.videos if v in world.videos}
                again = Stored(query.stored.user, frozenset(query.videos), known)
                [found] = world.model.predict(
                    [Query(query.query_video_id, query.video_ids, query.carried, again, 0)]
                )
            close(found, world.expected(columns))
    assert 0 < refused < 36
    assert len(world.model.catalogue) <= 26


def test_an_evicted_video_is_asked_for_and_does_not_hurt_the_others_of_the_batch():
    world = World(BUNDLES["mmoe"], seed=7)
    world.make_resident(world.videos)
    (first, columns), (second, _) = world.ask(), world.ask()
    only_second = next(
        video_id for video_id in second.video_ids if video_id in world.videos and video_id not in first.videos
    )
    world.model.catalogue.remove([only_second])
    one, other = world.model.predict([first, second])
    close(one, world.expected(columns))
    assert isinstance(other, EvictedError)


def test_what_was_fetched_does_not_replace_what_has_come_since():
    world = World(BUNDLES["mmoe"], seed=8, count=5)
    query, _ = world.ask()
    video_id = next(iter(query.stored.videos))
    newer = world.model.catalogue.layout.of_rows([{"video_id": video_id, "duration_s": 7777.0}])
    world.model.catalogue.put([video_id], newer)
    world.model.predict([query])
    np.testing.assert_array_equal(world.model.catalogue.copies([video_id])[1], newer)


def test_without_a_query_video_a_stored_one_without_a_name_is_not_taken_for_it():
    world = World(BUNDLES["mmoe"], seed=9)
    world.videos[""] = {"tags": ["a"], "duration_s": 999.0}
    world.make_resident([""])
    carried = world.model.reader.read(
        RankRequest.model_validate({"user": {"id": "u"}, "candidates": [{"id": "n1"}]})
    )
    [found] = world.model.predict([Query(None, ["n1"], carried, Stored(asked=["n1"]), 0)])
    close(found, world.bundle.predict({"user_id": "u"}, [{"video_id": "n1"}]))


def test_warming_up_leaves_no_trace():
    model = ServedModel(BUNDLES["mmoe"], 1)
    model.warm_up()
    assert len(model.catalogue) == 0
