"""Rows for 64-bit keys, bounded in number: the least recently used key gives its row to a new one."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.features.state import kernels
from ranker.features.state.kernels import MOST, NONE, USED, Keys, Words

_FIRST_ROOM: Final = 64


class KeyTable:
    """A table of keys that grows up to a bound.

    Attributes:
        arrays: The table, as compiled code takes it.

    Args:
        most: Keys that it may hold.
    """

    def __init__(self, most: int) -> None:
        self.arrays = _empty(min(_FIRST_ROOM, most), most)

    def __len__(self) -> int:
        return int(self.arrays.ends[USED])

    @property
    def room(self) -> int:
        """Rows that there is room for."""
        return len(self.arrays.keys)

    def reserve(self, further: int) -> None:
        """Make room for so many further keys, as far as the table may grow; the rows stay the same."""
        old, used, most = self.arrays, len(self), int(self.arrays.ends[MOST])
        wanted = min(used + further, most)
        if wanted <= self.room:
            return
        fresh = _empty(min(max(wanted, 2 * self.room), most), most)
        fresh.keys[:used] = old.keys[:used]
        fresh.older[:used] = old.older[:used]
        fresh.newer[:used] = old.newer[:used]
        fresh.ends[:] = old.ends
        kernels.place_all(fresh)
        self.arrays = fresh

    def by_recency(self) -> NDArray[np.int64]:
        """The used rows, the least recently used first."""
        rows = np.empty(len(self), np.int64)
        kernels.by_recency(self.arrays, rows)
        return rows

    def load(self, keys: Words) -> None:
        """Hold these keys instead, key i in row i, the least recently used first."""
        most = int(self.arrays.ends[MOST])
        self.arrays = _empty(min(_FIRST_ROOM, most), most)
        self.reserve(len(keys))
        kernels.use_all(self.arrays, keys)


def _empty(rows: int, most: int) -> Keys:
    slots = 1 << (2 * rows - 1).bit_length()
    ends = np.array([NONE, NONE, 0, most], np.int64)
    older, newer = (np.full(rows, NONE, np.int32) for _ in range(2))
    return Keys(np.full(slots, NONE, np.int32), np.zeros(rows, np.uint64), older, newer, ends)
