"""Rows of their own for frequent ids."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ranker.features.id_table import IdTable
from ranker.features.key_table import Arrays
from ranker.features.kinds.id import IdFeature

MISSING, SHARED = 0, 1


def table(capacity: int = 100, **settings: Any) -> IdTable:
    feature = IdFeature.model_validate(
        {"name": "x", "side": "candidate", "kind": "id", "capacity": capacity, **settings}
    )
    made = feature.id_table()
    assert made is not None
    return made


def keys(*ids: int) -> NDArray[np.uint64]:
    """Ids, 0 for a missing one, as hashes that collide in every power of two below 2^32."""
    return np.array(ids, np.uint64) << np.uint64(32)


def see(ids: IdTable, *seen: int, at_s: float | list[float] = 0.0) -> list[int]:
    """Observe ids, one a row, and return the rows that were given out."""
    times = (np.broadcast_to(at_s, len(seen)) * 1000).astype(np.int64)
    return ids.observe(keys(*seen)[:, None], times).tolist()


def rows(ids: IdTable, *wanted: int) -> list[int]:
    return ids.rows(keys(*wanted)).tolist()


def same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_an_id_has_a_row_from_its_nth_sighting_on() -> None:
    ids = table(admission_threshold=3)

    assert see(ids, 7, 8, 7) == []
    assert rows(ids, 7, 8, 9, 0) == [SHARED, SHARED, SHARED, MISSING]
    assert see(ids, 8) == []
    assert see(ids, 7, 7, 7) == [2]
    assert rows(ids, 7, 8) == [2, SHARED]
    assert see(ids, 8) == [3]
    assert rows(ids, 7, 8) == [2, 3]


def test_every_column_of_a_row_is_a_sighting() -> None:
    ids = table(admission_threshold=2)
    ids.observe(np.stack([keys(5, 6), keys(5, 0)], axis=1), np.array([0, 0]))

    assert rows(ids, 5, 6, 0) == [2, SHARED, MISSING]


def test_no_two_ids_share_a_row() -> None:
    ids = table(capacity=5000)
    see(ids, *range(1, 5001))

    assert sorted(rows(ids, *range(1, 5001))) == list(range(2, 5002))


def test_an_id_that_was_not_seen_for_a_while_is_counted_anew() -> None:
    ids = table(admission_threshold=2, expire_after="10s")
    see(ids, 1, 1, 2, 2, at_s=[0, 0, 5, 5])
    see(ids, 3, at_s=10)
    assert rows(ids, 1, 2) == [2, 3]
    see(ids, 3, at_s=10.001)
    assert rows(ids, 1, 2, 3) == [SHARED, 3, 4]

    assert see(ids, 1, at_s=11) == []
    assert rows(ids, 1) == [SHARED]
    assert see(ids, 1, at_s=11) == [2]
    assert rows(ids, 1) == [2]


def test_a_gap_within_one_batch_expires_as_well() -> None:
    ids = table(expire_after="10s")

    assert see(ids, 1, 1, 1, at_s=[0, 10, 21]) == [2, 2]


def test_without_expiry_a_row_is_kept() -> None:
    ids = table()
    see(ids, 1, at_s=0)
    see(ids, 2, at_s=1e9)

    assert rows(ids, 1) == [2]


def test_of_too_many_the_least_recently_seen_loses_its_row() -> None:
    ids = table(capacity=3)
    see(ids, 1, 2, 3, 1)

    assert see(ids, 4) == [3]
    assert rows(ids, 1, 2, 3, 4) == [2, SHARED, 4, 3]


def test_an_expired_row_is_given_out_before_one_that_is_in_use() -> None:
    ids = table(capacity=2, expire_after="10s")
    see(ids, 1, 2, at_s=[0, 9])

    assert see(ids, 3, at_s=15) == [2]
    assert rows(ids, 1, 2, 3) == [SHARED, 3, 2]


def test_looking_up_is_no_sighting() -> None:
    ids = table(admission_threshold=2)
    see(ids, 1)
    before = ids.state()
    for _ in range(3):
        rows(ids, 1, 2)

    assert same(ids.state(), before)


def test_what_is_looked_up_may_have_any_shape() -> None:
    ids = table()
    see(ids, 1, 2)

    assert ids.rows(keys(1, 2, 0, 3, 2, 1).reshape(2, 3)).tolist() == [[2, 3, 0], [1, 3, 2]]
    assert ids.rows(keys(1, 2, 0, 3).reshape(2, 2).T).tolist() == [[2, 0], [3, 1]]
    assert ids.rows(keys()).tolist() == []
    assert ids.observe(keys()[:, None], np.empty(0, np.int64)).tolist() == []


@pytest.mark.parametrize("admit", [1, 2])
def test_ten_times_as_many_ids_take_no_more_memory(admit: int) -> None:
    ids = table(capacity=500, admission_threshold=admit, expire_after="1h")

    def after(first: int, last: int) -> int:
        for start in range(first, last, 50):
            new = range(start, start + 50)
            see(ids, *new, *new, *range(10**6 + start, 10**6 + start + 50), at_s=float(start))
        return sum(array.nbytes for array in ids.state().values())

    once = after(1, 1001)
    assert after(1001, 10001) == once
    everyone = rows(ids, *range(1, 10051), *range(10**6, 10**6 + 10051))
    assert sorted(row for row in everyone if row != SHARED) == list(range(2, 502))


class Plain:
    """The same in dictionaries, ordered by when an id was last seen."""

    def __init__(self, capacity: int, admit: int, expire_s: int) -> None:
        self.capacity, self.admit, self.expire_s = capacity, admit, expire_s
        self.own: OrderedDict[int, int] = OrderedDict()
        self.sightings: OrderedDict[int, int] = OrderedDict()

    def expire(self, now_s: int) -> None:
        for one in [one for one, seen_s in self.own.items() if seen_s < now_s - self.expire_s]:
            del self.own[one]

    def see(self, one: int, at_s: int) -> bool:
        """Whether it was given a row."""
        self.expire(at_s)
        had = one in self.own
        if not had and self.admit > 1:
            count = self.sightings.pop(one, 0) + 1
            if len(self.sightings) == self.capacity:
                self.sightings.popitem(last=False)
            self.sightings[one] = count % self.admit
            if count < self.admit:
                return False
        if not had and len(self.own) == self.capacity:
            self.own.popitem(last=False)
        self.own[one] = at_s
        self.own.move_to_end(one)
        return not had


@given(
    capacity=st.integers(1, 4),
    admit=st.integers(1, 3),
    expire_s=st.integers(0, 12),
    batches=st.lists(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 4)), max_size=8), max_size=12),
)
def test_it_is_what_plain_dictionaries_say_however_often_it_is_saved(
    capacity: int, admit: int, expire_s: int, batches: list[list[tuple[int, int]]]
) -> None:
    settings: dict[str, Any] = {"capacity": capacity, "admission_threshold": admit, "expire_after": expire_s}
    ids, plain, saved = table(**settings), Plain(capacity, admit, expire_s), table(**settings)
    now_s, held = 0, dict[int, int]()
    for batch in batches:
        times = now_s + np.cumsum([gap_s for _, gap_s in batch], dtype=int)
        now_s = int(times[-1]) if len(times) else now_s
        seen = [one for one, _ in batch]
        expected = [plain.see(one, at_s) for one, at_s in zip(seen, times.tolist(), strict=True)]
        plain.expire(now_s)

        given_out = see(ids, *seen, at_s=times.tolist())

        assert len(given_out) == sum(expected)
        found = dict(zip(range(1, 9), rows(ids, *range(1, 9)), strict=True))
        own = {one: row for one, row in found.items() if row != SHARED}
        assert own.keys() == plain.own.keys()
        assert len(set(own.values())) == len(own)
        assert set(own.values()) <= set(range(2, 2 + capacity))
        assert {row for one, row in own.items() if held.get(one) != row} <= set(given_out)
        held = own
        assert see(saved, *seen, at_s=times.tolist()) == given_out
        again = table(**settings)
        again.load({name: array.copy() for name, array in saved.state().items()})
        assert same(again.state(), ids.state())
        saved = again
