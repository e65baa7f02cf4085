import numpy as np
import pytest

from ranker.features.kinds.bin import BinFeature
from ranker.features.kinds.parts import made_of
from ranker.features.record import MISSING_KEY
from ranker.features.state.row_keys import RowKeys
from tests.ranker.features.state.small_state import STATE_SPEC, Log, Machine, one, together

MACHINE = Machine()


def keys(log: Log, *of: str) -> list[list[int]]:
    parts = [made_of(name, MACHINE.layout.by_name) for name in of]
    found: list[list[int]] = RowKeys(parts)(MACHINE.words(log), MACHINE.records).tolist()
    return found


def test_a_number_is_in_the_range_whose_edge_it_reached() -> None:
    (feature,) = (f for f in STATE_SPEC.features if isinstance(f, BinFeature))
    assert feature.edges == (10, 60)
    durations = [None, -1.0, 9.999, 10.0, 59.999, 60.0, 1e9]
    log = together(*(one(0, duration_s=duration) for duration in durations))

    assert feature.ranges(MACHINE.words(log), MACHINE.records).tolist() == [0, 1, 1, 2, 2, 3, 3]


def test_a_key_is_missing_where_any_of_its_parts_is() -> None:
    whole = {"user_id": "u", "author_id": "a", "duration_s": 1.0}
    lacking = [{name: v for name, v in whole.items() if name != left_out} for left_out in whole]
    log = together(one(0, **whole), *(one(0, **row) for row in lacking))

    found = np.array(keys(log, "user_id", "author_id", "length"))

    assert (found == int(MISSING_KEY)).tolist() == [[False], [True], [True], [True]]


def test_a_list_makes_a_key_of_each_item_as_far_as_it_is_used() -> None:
    log = together(*(one(0, user_id="u", tags=tags) for tags in (["x", "y", "z", "w"], ["y"], [], None)))

    alone, paired = keys(log, "tags"), keys(log, "user_id", "tags")

    for found in (alone, paired):
        assert [sum(key != int(MISSING_KEY) for key in row) for row in found] == [3, 1, 0, 0]
        assert found[1][0] == found[0][1]
    assert not {*alone[0]} & {*paired[0]}


@pytest.mark.parametrize("of", [("user_id", "author_id"), ("author_id", "user_id")])
def test_combinations_are_told_apart(of: tuple[str, str]) -> None:
    log = together(*(one(0, user_id=u, author_id=a) for u in ("x", "y") for a in ("x", "y")))

    assert len({key for (key,) in keys(log, *of)}) == 4


def test_ranges_and_ids_of_different_features_have_different_keys() -> None:
    log = one(0, user_id="u", video_id="u", duration_s=1.0)

    assert keys(log, "user_id") == keys(log, "video_id")  # the tables of two features are apart
    assert keys(log, "length") != keys(log, "user_id")
