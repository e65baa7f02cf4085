from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.features.key_loops import KNOWN, NO_ROW, find, use
from ranker.features.key_table import KeyTable

SLOTS = 2**40
COLLIDING = [np.uint64(place + high * SLOTS) for place in (0, 1, SLOTS - 1) for high in range(1, 6)]
"""Keys that want one of three neighbouring slots, the last and the first among them, whatever the size."""
ALIKE_ABOVE = [np.uint64((7 << 32) + place) for place in range(1, 5)]
"""Keys whose upper halves, which slots hold, are the same."""
keys = st.lists(st.sampled_from(COLLIDING + ALIKE_ABOVE) | st.integers(1, 2**64 - 1).map(np.uint64))


def touch(table: KeyTable, key: np.uint64) -> tuple[int, bool]:
    table.reserve(1)
    return use(table.arrays, key)


def held(table: KeyTable) -> list[int]:
    """The keys, the least recently used first."""
    found: list[int] = table.keys(table.by_recency()).tolist()
    return found


@given(keys, st.integers(1, 12))
def test_the_least_recently_used_key_gives_its_row_to_a_new_one(used: list[np.uint64], most: int) -> None:
    table, rows = KeyTable(most, 0), OrderedDict[int, int]()

    for key in used:
        row, fresh = touch(table, key)
        assert fresh == (int(key) not in rows)
        if fresh and len(rows) == most:
            _, of_forgotten = rows.popitem(last=False)
            assert row == of_forgotten
        assert row == rows.setdefault(int(key), row)
        rows.move_to_end(int(key))

        assert held(table) == list(rows)
        assert len(table) == len(rows)
        for other in {*used, *COLLIDING}:
            assert find(table.arrays, other) == rows.get(int(other), NO_ROW)


def test_a_table_grows_to_its_bound_and_keeps_rows_and_what_is_known() -> None:
    table = KeyTable(1000, words=1)
    for key in range(1, 2001):
        row, _ = touch(table, np.uint64(key * 2**33 + 5))
        table.arrays.rows[row, KNOWN] = key
        assert table.room <= 1000

    rows = table.by_recency()

    assert len(table) == table.room == 1000
    assert table.known(rows)[:, 0].tolist() == list(range(1001, 2001))
    assert [key >> 33 for key in held(table)] == list(range(1001, 2001))


def test_a_table_has_room_for_no_more_than_it_needs_twice() -> None:
    table = KeyTable(10**6, 0)
    table.reserve(300)

    assert 300 <= table.room < 600


@given(keys, keys, st.integers(1, 12))
def test_a_loaded_table_goes_on_like_the_one_that_was_saved(
    before: list[np.uint64], after: list[np.uint64], most: int
) -> None:
    table, loaded = KeyTable(most, words=2), KeyTable(most, words=2)
    for number, key in enumerate(before):
        row, _ = touch(table, key)
        table.arrays.rows[row, KNOWN:] = number, -number

    rows = table.by_recency()
    loaded.load(table.keys(rows), table.known(rows))

    for key in after:
        touch(table, key)
        touch(loaded, key)
    assert held(loaded) == held(table)
    np.testing.assert_array_equal(
        loaded.known(loaded.by_recency()), table.known(table.by_recency()), strict=True
    )


@pytest.mark.parametrize("words", [0, 3])
def test_an_empty_table_can_be_saved_and_loaded(words: int) -> None:
    table = KeyTable(5, words)
    rows = table.by_recency()

    table.load(table.keys(rows), table.known(rows))

    assert held(table) == []
    assert find(table.arrays, np.uint64(1)) == NO_ROW
