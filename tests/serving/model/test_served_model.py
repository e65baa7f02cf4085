"""What is ranked by is the bundle's own prediction, from wherever the features come."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from ranker.errors import EvictedError
from ranker.features.kinds.cross import CrossFeature
from ranker.features.sides import Side
from ranker.networks.sharing.registry import kind_names
from serving.model import catalogue as catalogue_module
from serving.model import served_model as module
from serving.model.encoded_request import EncodedRequest, FetchedRecords
from serving.model.served_model import ServedModel
from serving.requests import RankRequest
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
        request, columns = world.ask()
        [found] = world.model.predict([request])
        close(found, world.expected(columns))


@pytest.mark.parametrize("name", SPECS)
def test_a_request_is_ranked_the_same_alone_and_among_others(name):
    world = World(BUNDLES[name], seed=3)
    asked = []
    for count in (12, 1, 7, 20):
        world.count = count
        asked.append(world.ask())
    together = world.model.predict([request for request, _ in asked])
    for found, (request, columns) in zip(together, asked, strict=True):
        [alone] = world.model.predict([request])
        close(found, alone)
        close(found, world.expected(columns))


@pytest.mark.parametrize("kind", kind_names())
def test_bfloat16_is_near_the_bundle(kind):
    world = World(bundle_of(small_spec(kind=kind)), seed=4, count=30)
    world.model = ServedModel(world.bundle, 1, torch.bfloat16)
    binary = [index for index, task in enumerate(SMALL_SPEC.tasks) if task.kind == "binary"]
    for _ in range(10):
        request, columns = world.ask()
        [found] = world.model.predict([request])
        # The weights of this network are drawn wide, so its logits are twice those of a trained one.
        np.testing.assert_allclose(found[:, binary], world.expected(columns)[:, binary], atol=0.02)


def test_videos_with_rows_of_their_own_are_told_apart_and_others_are_not():
    world = World(BUNDLES["mmoe"], seed=5)
    seen = RECORDS_SEEN.column("video_id").to_pylist() + RECORDS_SEEN.column("query_video_id").to_pylist()
    often = [str(video) for video, count in Counter(seen).items() if video is not None and count > 3][:3]
    ids = [*often, "never seen", "nor was this"]
    features = world.model.reader.read(
        RankRequest.model_validate({"user": {"id": "u"}, "candidates": [{"id": name} for name in ids]})
    )

    [found] = world.model.predict([EncodedRequest(None, ids, features, FetchedRecords(asked_ids=ids), 0)])

    close(found, world.bundle.predict({"user_id": "u"}, [{"video_id": name} for name in ids]))
    assert len(np.unique(found[:, 0])) == 4
    np.testing.assert_array_equal(found[3], found[4])


def tiny_world(monkeypatch):
    """A world whose catalogue has room for the candidates of two requests."""
    monkeypatch.setattr(catalogue_module, "MIN_CAPACITY", 26)
    return World(BUNDLES["mmoe"], seed=6)


def test_a_tiny_catalogue_changes_no_prediction(monkeypatch):
    world = tiny_world(monkeypatch)
    refused = 0
    for _ in range(12):
        batch = [world.ask() for _ in range(3)]
        for found, (request, columns) in zip(world.model.predict([r for r, _ in batch]), batch, strict=True):
            if isinstance(found, EvictedError):
                refused += 1
                known = {v: world.record(v) for v in request.video_ids if v in world.videos}
                again = FetchedRecords(request.fetched.user, frozenset(request.video_ids), known)
                [found] = world.model.predict([replace(request, fetched=again)])
            close(found, world.expected(columns))
    assert 0 < refused < 36
    assert len(world.model.catalogue) <= 26


def test_an_evicted_video_is_asked_for_and_does_not_hurt_the_others_of_the_batch():
    world = World(BUNDLES["mmoe"], seed=7)
    world.make_resident(world.videos)
    (first, columns), (second, _) = world.ask(), world.ask()
    only_second = next(
        video_id
        for video_id in second.candidate_ids
        if video_id in world.videos and video_id not in first.video_ids
    )
    world.model.catalogue.remove([only_second])
    one, other = world.model.predict([first, second])
    close(one, world.expected(columns))
    assert isinstance(other, EvictedError)


def test_what_was_fetched_does_not_replace_what_has_come_since():
    world = World(BUNDLES["mmoe"], seed=8, count=5)
    request, _ = world.ask()
    video_id = next(iter(request.fetched.videos))
    newer = world.model.catalogue.layout.of_rows([{"video_id": video_id, "duration_s": 7777.0}])
    world.model.put_videos([video_id], newer)
    world.model.predict([request])
    np.testing.assert_array_equal(world.model.catalogue.copies([video_id])[1], newer)


def test_without_a_query_video_a_stored_one_without_a_name_is_not_taken_for_it():
    world = World(BUNDLES["mmoe"], seed=9)
    world.videos[""] = {"tags": ["a"], "duration_s": 999.0}
    world.make_resident([""])
    features = world.model.reader.read(
        RankRequest.model_validate({"user": {"id": "u"}, "candidates": [{"id": "n1"}]})
    )
    [found] = world.model.predict(
        [EncodedRequest(None, ["n1"], features, FetchedRecords(asked_ids=["n1"]), 0)]
    )
    close(found, world.bundle.predict({"user_id": "u"}, [{"video_id": "n1"}]))


def test_warming_up_leaves_no_trace():
    model = ServedModel(BUNDLES["mmoe"], 1)
    model.warm_up()
    assert len(model.catalogue) == 0


def test_putting_more_videos_than_are_computed_at_once_computes_them_as_one_by_one(monkeypatch):
    world, alone = World(BUNDLES["mmoe"], seed=10), World(BUNDLES["mmoe"], seed=10)
    monkeypatch.setattr(module, "VIDEOS_PER_PASS", 7)
    world.make_resident(world.videos)
    for video_id in alone.videos:
        alone.make_resident([video_id])
    rows = [each.model.catalogue.rows(list(each.videos)) for each in (world, alone)]
    found, expected = (w.model.catalogue.outputs(r) for w, r in zip((world, alone), rows, strict=True))
    close(found.hidden, expected.hidden)
    close(found.linear, expected.linear)


def test_without_eviction_only_what_is_resident_changes_once_the_catalogue_is_full(monkeypatch):
    world = tiny_world(monkeypatch)
    catalogue = world.model.catalogue
    ids = [str(number) for number in range(30)]
    newer = catalogue.layout.of_rows([{"video_id": video_id, "duration_s": 7777.0} for video_id in ids])
    world.make_resident(ids[:26])
    world.model.put_videos(ids, newer, evict=False)
    assert sorted(catalogue.ids()) == sorted(ids[:26])
    np.testing.assert_array_equal(catalogue.copies(ids[:26])[1], newer[:26])
