import numpy as np
import pytest
import torch

from ranker.features.stored import video_records
from ranker.networks.inference import SideOutput
from serving.model import catalogue as module
from serving.model.catalogue import MIN_CAPACITY, Catalogue
from tests.serving.small_ranker import SPEC

LAYOUT = video_records(SPEC)
HIDDEN, LINEAR = 6, 3


def empty_catalogue(*, dtype=torch.float32, max_bytes=1):
    device = torch.device("cpu")
    return Catalogue(
        LAYOUT, hidden_width=HIDDEN, linear_width=LINEAR, dtype=dtype, device=device, max_bytes=max_bytes
    )


def catalogue_of(capacity, monkeypatch, *, evicted=4):
    """A catalogue of this capacity that evicts so many videos at a time."""
    monkeypatch.setattr(module, "MIN_CAPACITY", capacity)
    monkeypatch.setattr(module, "EVICTED_FRACTION", capacity // evicted)
    return empty_catalogue()


def records(names, duration_s=1.0):
    return LAYOUT.of_rows(
        [{"video_id": name, "duration_s": duration_s + index} for index, name in enumerate(names)]
    )


def outputs(count, first=0.0):
    """Side outputs in which every row is another."""
    rows = first + torch.arange(count, dtype=torch.float32)[:, None]
    return SideOutput(rows + torch.linspace(0, 0.9, HIDDEN), -rows - torch.linspace(0, 0.9, LINEAR))


def put(catalogue, names, duration_s=1.0):
    catalogue.put(names, records(names, duration_s), outputs(len(names), duration_s))


def names(prefix, count):
    return [f"{prefix}{index}" for index in range(count)]


@pytest.fixture
def small(monkeypatch):
    return catalogue_of(16, monkeypatch)


def test_a_video_is_found_with_its_record_and_its_side_output(small):
    put(small, ["a", "b"])
    rows = small.rows(["b", "nobody", "a"])
    assert (rows >= 0).tolist() == [True, False, True]
    found = small.outputs(rows[[0, 2]])
    np.testing.assert_array_equal(small.records(rows[[0, 2]]), records(["a", "b"])[[1, 0]])
    torch.testing.assert_close(found.hidden, outputs(2, 1.0).hidden[[1, 0]], rtol=0, atol=0)
    torch.testing.assert_close(found.linear, outputs(2, 1.0).linear[[1, 0]], rtol=0, atol=0)
    assert len(small) == 2
    assert small.missing(["b", "nobody", "a"]) == ["nobody"]


def test_the_record_of_a_video_that_is_not_resident_has_no_value(small):
    put(small, ["a"])
    np.testing.assert_array_equal(small.records(small.rows(["nobody"])), LAYOUT.missing(1))


def test_a_change_replaces_record_and_side_output_in_their_row(small):
    put(small, ["a"], duration_s=1.0)
    before = small.rows(["a"])
    put(small, ["a"], duration_s=500.0)
    assert small.rows(["a"]) == before
    np.testing.assert_array_equal(small.records(before), records(["a"], 500.0))
    torch.testing.assert_close(small.outputs(before).hidden, outputs(1, 500.0).hidden)


def test_what_was_read_is_a_copy(small):
    put(small, ["a"], duration_s=1.0)
    rows = small.rows(["a"])
    record, output = small.records(rows), small.outputs(rows)
    put(small, ["a"], duration_s=500.0)
    np.testing.assert_array_equal(record, records(["a"], 1.0))
    torch.testing.assert_close(output.hidden, outputs(1, 1.0).hidden, rtol=0, atol=0)


def test_those_used_least_recently_are_evicted_first(small):
    put(small, names("old", 8))
    put(small, names("new", 8))
    small.rows(["old0", "old1", "old2", "old3", "old4"])
    put(small, ["one more"])
    assert len(small) <= small.capacity
    gone = small.missing([*names("old", 8), *names("new", 8)])
    assert set(names("old", 8)[5:]) < set(gone)
    assert len(gone) == 4
    assert len(set(gone) & set(names("new", 8))) == 1
    assert small.missing(["one more"]) == []


def test_it_never_holds_more_than_its_capacity(small):
    for index in range(10):
        put(small, names(f"{index}-", 7))
        assert len(small) <= 16
        assert small.missing(names(f"{index}-", 7)) == []
    assert len(set(small.rows(small.ids()))) == len(small)


def test_every_video_keeps_its_own_record_through_evictions(small):
    random = np.random.default_rng(1)
    for _ in range(200):
        chosen = [f"v{index}" for index in random.choice(40, 5, replace=False)]
        small.rows(chosen)  # so that none of them is evicted for another
        new = small.missing(chosen)
        if new:
            small.put(new, LAYOUT.of_rows([{"video_id": name} for name in new]), outputs(len(new)))
        expected = LAYOUT.of_rows([{"video_id": name} for name in chosen])
        np.testing.assert_array_equal(small.records(small.rows(chosen)), expected)


def test_all_videos_fit_while_there_is_room_and_then_only_those_that_are_resident(small):
    put(small, names("a", 14))
    assert small.fitting([*names("b", 2), "a0"]) == [0, 1, 2]
    assert small.fitting([*names("b", 4), "a0"]) == [4]


def test_a_removed_video_is_not_found_and_leaves_room(small):
    put(small, names("a", 16))
    small.remove(["a3", "nobody"])
    assert small.rows(["a3"]).tolist() == [-1]
    assert len(small) == 15
    put(small, ["b"])
    assert small.missing(names("a", 16)) == ["a3"]


def test_ids_are_given_in_the_order_of_use(small):
    put(small, ["a"])
    put(small, ["b"])
    put(small, ["c"])
    small.rows(["a"])
    small.remove(["b"])
    assert small.ids() == ["c", "a"]


def test_copies_leave_out_what_has_gone(small):
    put(small, ["a", "b"])
    small.remove(["a"])
    ids, copied = small.copies(["a", "b"])
    assert ids == ["b"]
    np.testing.assert_array_equal(copied, records(["a", "b"])[1:])


def test_the_capacity_is_what_the_memory_holds():
    assert empty_catalogue().capacity == MIN_CAPACITY
    catalogue = empty_catalogue(max_bytes=100_000_000)
    assert catalogue.capacity == 100_000_000 // catalogue.bytes_per_video
    assert catalogue.bytes_per_video > LAYOUT.words * 8 + HIDDEN * 4 + LINEAR * 4


def test_in_bfloat16_a_hidden_side_output_takes_half_the_memory():
    half = empty_catalogue(dtype=torch.bfloat16)
    assert empty_catalogue().bytes_per_video - half.bytes_per_video == HIDDEN * 2
