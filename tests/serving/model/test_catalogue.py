import numpy as np
import pytest
import torch

from ranker.bundles.bundle import unpack
from ranker.networks.inference import InferenceModel
from serving.model import catalogue as module
from serving.model.catalogue import LEAST_VIDEOS, Catalogue
from tests.serving.small_ranker import packed_ranker

BUNDLE = unpack(packed_ranker(), where="test")
MODEL = InferenceModel.of(BUNDLE.model)


def catalogue_of(capacity, monkeypatch, *, evicted=4):
    """A catalogue of this capacity, out of which so many videos leave at a time."""
    monkeypatch.setattr(module, "LEAST_VIDEOS", capacity)
    monkeypatch.setattr(module, "SHARE_EVICTED", capacity // evicted)
    return Catalogue(BUNDLE.encoder, MODEL, memory=1)


def records(catalogue, names, duration_s=1.0):
    return catalogue.layout.of_rows(
        [{"video_id": name, "duration_s": duration_s + place} for place, name in enumerate(names)]
    )


def put(catalogue, names, duration_s=1.0, **options):
    catalogue.put(names, records(catalogue, names, duration_s), **options)


def names(prefix, count):
    return [f"{prefix}{place}" for place in range(count)]


@pytest.fixture
def small(monkeypatch):
    return catalogue_of(16, monkeypatch)


def test_a_video_is_found_with_its_record_and_its_part(small):
    put(small, ["a", "b"])
    slots = small.slots(["b", "nobody", "a"])
    assert (slots >= 0).tolist() == [True, False, True]
    there = slots[[0, 2]]
    np.testing.assert_array_equal(small.records(there), records(small, ["a", "b"])[[1, 0]])
    expected = small.compute(small.candidate_words(records(small, ["a", "b"])[[1, 0]]))
    torch.testing.assert_close(small.parts(there).hidden, expected.hidden)
    torch.testing.assert_close(small.parts(there).linear, expected.linear)
    assert len(small) == 2
    assert small.lacking(["b", "nobody", "a"]) == ["nobody"]


def test_a_change_replaces_record_and_part_in_their_place(small):
    put(small, ["a"], duration_s=1.0)
    before, part = small.slots(["a"]), small.parts(small.slots(["a"]))
    put(small, ["a"], duration_s=500.0)
    assert small.slots(["a"]) == before
    np.testing.assert_array_equal(small.records(before), records(small, ["a"], 500.0))
    assert not torch.equal(small.parts(before).hidden, part.hidden)


def test_what_was_taken_out_is_a_copy(small):
    put(small, ["a"], duration_s=1.0)
    slots = small.slots(["a"])
    record, part = small.records(slots), small.parts(slots)
    hidden = part.hidden.clone()
    put(small, ["a"], duration_s=500.0)
    np.testing.assert_array_equal(record, records(small, ["a"], 1.0))
    torch.testing.assert_close(part.hidden, hidden, rtol=0, atol=0)


def test_those_used_least_recently_leave_first(small):
    put(small, names("old", 8))
    put(small, names("new", 8))
    small.slots(["old0", "old1", "old2", "old3", "old4"])
    put(small, ["one more"])
    assert len(small) <= small.capacity
    gone = small.lacking([*names("old", 8), *names("new", 8)])
    assert set(names("old", 8)[5:]) < set(gone)
    assert len(gone) == 4
    assert len(set(gone) & set(names("new", 8))) == 1
    assert small.lacking(["one more"]) == []


def test_it_never_holds_more_than_its_capacity(small):
    for place in range(10):
        put(small, names(f"{place}-", 7))
        assert len(small) <= 16
        assert small.lacking(names(f"{place}-", 7)) == []
    assert len(set(small.slots(small.ids()))) == len(small)


def test_every_video_keeps_its_own_record_through_evictions(small):
    random = np.random.default_rng(1)
    for _ in range(200):
        chosen = [f"v{place}" for place in random.choice(40, 5, replace=False)]
        small.slots(chosen)  # so that none of them leaves for another
        new = small.lacking(chosen)
        if new:
            small.put(new, small.layout.of_rows([{"video_id": name} for name in new]))
        expected = small.layout.of_rows([{"video_id": name} for name in chosen])
        np.testing.assert_array_equal(small.records(small.slots(chosen)), expected)


def test_without_eviction_only_what_is_there_changes_once_it_is_full(small):
    put(small, names("a", 14))
    put(small, [*names("b", 4), "a0"], 90.0, evict=False)
    assert sorted(small.ids()) == sorted(names("a", 14))
    np.testing.assert_array_equal(
        small.records(small.slots(["a0"]))[0], records(small, [*names("b", 4), "a0"], 90.0)[4]
    )
    put(small, names("b", 2), evict=False)
    assert len(small) == 16


def test_a_removed_video_is_not_found_and_leaves_room(small):
    put(small, names("a", 16))
    small.remove(["a3", "nobody"])
    assert small.slots(["a3"]).tolist() == [-1]
    assert len(small) == 15
    put(small, ["b"])
    assert small.lacking(names("a", 16)) == ["a3"]


def test_ids_are_given_in_the_order_of_use(small):
    put(small, ["a"])
    put(small, ["b"])
    put(small, ["c"])
    small.slots(["a"])
    small.remove(["b"])
    assert small.ids() == ["c", "a"]


def test_copies_leave_out_what_has_gone(small):
    put(small, ["a", "b"])
    small.remove(["a"])
    ids, copied = small.copies(["a", "b"])
    assert ids == ["b"]
    np.testing.assert_array_equal(copied, records(small, ["a", "b"])[1:])


def test_the_capacity_is_what_the_memory_holds():
    assert Catalogue(BUNDLE.encoder, MODEL, 1).capacity == LEAST_VIDEOS
    catalogue = Catalogue(BUNDLE.encoder, MODEL, 100_000_000)
    assert catalogue.capacity == 100_000_000 // catalogue.bytes_per_video
    held = catalogue.layout.words * 8 + MODEL.hidden_width * 4 + MODEL.linear_width * 4
    assert catalogue.bytes_per_video > held


def test_in_bfloat16_a_video_takes_half_the_room_for_its_first_layer():
    small = Catalogue(BUNDLE.encoder, InferenceModel.of(BUNDLE.model, torch.bfloat16), 1)
    wide = Catalogue(BUNDLE.encoder, MODEL, 1)
    assert wide.bytes_per_video - small.bytes_per_video == MODEL.hidden_width * 2


def test_more_videos_than_are_computed_at_once(monkeypatch):
    monkeypatch.setattr(module, "PARTS_AT_ONCE", 3)
    catalogue = catalogue_of(16, monkeypatch)
    put(catalogue, names("a", 10))
    expected = catalogue.compute(catalogue.candidate_words(records(catalogue, names("a", 10))))
    torch.testing.assert_close(catalogue.parts(catalogue.slots(names("a", 10))).hidden, expected.hidden)
