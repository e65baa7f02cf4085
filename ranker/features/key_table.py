"""Rows for 64-bit keys, bounded in number: the least recently used key gives its row to a new one."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranker.features.key_loops import (
    CAPACITY,
    CLOCK,
    COUNTS,
    KEY,
    KNOWN,
    LAST_USE,
    NEXT,
    NOTED,
    NOTED_SINCE,
    ROOM,
    SORTED,
    SORTED_AT,
    USED,
    Keys,
    Times,
    Words,
    insert_all,
    remove_all,
    take_back,
)

Arrays = dict[str, NDArray[Any]]
"""Named arrays, as they are saved."""
_FIRST_CAPACITY: Final = 64


class KeyTable:
    """A table of keys that grows up to a bound.

    Attributes:
        arrays: The table, as compiled code takes it; others take their place when it grows.

    Args:
        capacity: Keys that it may hold.
        words: Words of 64 bits that are known of each.
    """

    def __init__(self, capacity: int, words: int) -> None:
        self.arrays = _empty(min(_FIRST_CAPACITY, capacity), 0, capacity, words)
        self._counts_before = self.arrays.counts.copy()

    def __len__(self) -> int:
        return int(self.arrays.counts[USED])

    @property
    def room(self) -> int:
        """Rows that there is room for."""
        return int(self.arrays.counts[ROOM])

    def reserve(self, further: int) -> None:
        """Make room for so many further keys, as far as the table may grow; the rows stay the same."""
        capacity = int(self.arrays.counts[CAPACITY])
        wanted = min(len(self) + further, capacity)
        if wanted > self.room:
            self._resize(min(max(wanted, 2 * self.room), capacity), len(self.arrays.rows) - self.room)

    def note(self, uses: int | None) -> None:
        """Make it possible to take back what changes from now on.

        Args:
            uses: How many uses of keys there will be at most; None if nothing will be taken back.
        """
        self.settle()
        if uses is None:
            return
        if uses > len(self.arrays.rows) - self.room:
            self._resize(self.room, 2 * uses)
        self._counts_before = self.arrays.counts.copy()
        self.arrays.counts[NOTED_SINCE] = self.arrays.counts[CLOCK]

    def take_back(self) -> None:
        """Let the table hold what it held when `note` was called."""
        counts, before = self.arrays.counts, self._counts_before
        take_back(self.arrays, int(before[USED]))
        if counts[SORTED_AT] != before[SORTED_AT]:
            before[[NEXT, SORTED]] = 0  # the order was found anew since, so it has to be found once more
        counts[:] = before

    def remove(self, keys: Words) -> None:
        """Know nothing of some keys, (R,), any more; what has changed before cannot be taken back."""
        self.settle()
        remove_all(self.arrays, keys)

    def settle(self) -> None:
        """Note nothing from now on: what has changed cannot be taken back."""
        self.arrays.counts[[NOTED, NOTED_SINCE]] = 0

    def _resize(self, room: int, notes: int) -> None:
        """Move the rows to a table with room for so many, and for so many notes; there are none so far."""
        old, used = self.arrays, len(self)
        fresh = _empty(room, notes, int(old.counts[CAPACITY]), old.rows.shape[1] - KNOWN)
        fresh.rows[:used] = old.rows[:used]
        fresh.oldest[:used] = old.oldest[:used]
        fresh.counts[:] = old.counts
        fresh.counts[ROOM] = room
        insert_all(fresh)
        self.arrays = fresh

    def by_recency(self) -> NDArray[np.int64]:
        """The used rows, the least recently used first."""
        return np.argsort(self.arrays.rows[: len(self), LAST_USE])

    def keys(self, rows: NDArray[np.int64]) -> Words:
        """The keys of these rows, as many."""
        keys: Words = self.arrays.rows[rows, KEY].view(np.uint64)
        return keys

    def known(self, rows: NDArray[np.int64]) -> Times:
        """(..., words) int64 what is known of the keys of these rows."""
        return self.arrays.rows[rows, KNOWN:]

    def load(self, keys: Words, known: Times) -> None:
        """Hold these keys instead, key i in row i, the least recently used first.

        Args:
            keys: (C,) different keys, no more than the table may hold.
            known: (C, words) int64 what is known of each.
        """
        capacity, words = int(self.arrays.counts[CAPACITY]), self.arrays.rows.shape[1] - KNOWN
        self.arrays = _empty(min(_FIRST_CAPACITY, capacity), 0, capacity, words)
        self.reserve(len(keys))
        rows = self.arrays.rows[: len(keys)]
        rows[:, KEY] = keys.view(np.int64)
        rows[:, LAST_USE] = np.arange(len(keys))
        rows[:, KNOWN:] = known
        self.arrays.counts[[USED, CLOCK]] = len(keys)
        insert_all(self.arrays)


def _empty(room: int, notes: int, capacity: int, words: int) -> Keys:
    counts = np.zeros(COUNTS, np.int64)
    counts[[CAPACITY, ROOM]] = capacity, room
    return Keys(
        np.zeros(1 << (2 * room - 1).bit_length(), np.uint64),
        np.zeros((room + notes, KNOWN + words), np.int64),
        np.zeros(room + notes, np.int32),
        counts,
    )
