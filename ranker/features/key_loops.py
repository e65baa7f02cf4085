"""The compiled part of the key table: hashing with linear probing, and the least recently used key.

What is known of a key stands in one row, beside the key: memory is slower than arithmetic here.

Shape letters: C rows of a table that there is room for, S slots, at least 2 C; P words known of a key; U rows
that there is room to note, which stand behind the others: numba counts the references of every array that a
loop is given, and eight arrays made these loops 7 % slower than four.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranker.compiled import compiled

Words = NDArray[np.uint64]
Times = NDArray[np.int64]

NO_ROW: Final = -1
"""In place of a row index: there is none."""
NO_KEY: Final = np.uint64(0)
"""In place of a key: the value is missing."""
FREE: Final = np.uint64(0)
"""In place of a slot's row and its part of the key."""
HALF: Final = np.uint64(32)
LOWER: Final = np.uint64(2**32 - 1)
ONE: Final = np.uint64(1)

KEY: Final = 0
LAST_USE: Final = 1
KNOWN: Final = 2
"""Words of a row: its key, the table's clock when it was last used, and from here on what is known."""

USED: Final = 0
CAPACITY: Final = 1
CLOCK: Final = 2
NEXT: Final = 3
SORTED: Final = 4
SORTED_AT: Final = 5
NOTED: Final = 6
NOTED_SINCE: Final = 7
ROOM: Final = 8
COUNTS: Final = 9
"""How many counts a table has, each at one of the indices above."""


class Keys(NamedTuple):
    """Rows for keys: a hash table with linear probing (keys are hashes already).

    Attributes:
        slots: (S,) uint64, FREE or the upper half of a key above 1 + its row.
        rows: (C + U, 2 + P) int64, see KEY, LAST_USE and KNOWN; from C on, what stood in the noted rows.
        oldest: (C + U,) int32, the first SORTED are rows by their last use as of clock SORTED_AT; those
            before NEXT were forgotten or used again. From C on, which rows are noted.
        counts: (COUNTS,) int64: rows used, rows that may be used, the clock, the three above, how many rows
            are noted, since which clock rows are noted before they change (0 for never), and C.
    """

    slots: Words
    rows: Times
    oldest: NDArray[np.int32]
    counts: Times


@compiled
def find(keys: Keys, key: np.uint64) -> int:
    """The row of a key, NO_ROW if it has none."""
    mask = np.uint64(len(keys.slots) - 1)
    slot = key & mask
    while True:
        entry = keys.slots[slot]
        if entry == FREE:
            return NO_ROW
        if (entry ^ key) >> HALF == FREE:
            row = int(entry & LOWER) - 1
            if keys.rows[row, KEY] == np.int64(key):
                return row
        slot = (slot + ONE) & mask


@compiled
def use(keys: Keys, key: np.uint64) -> tuple[int, bool]:
    """The row of a key, which becomes the most recently used, and whether the row is new to it."""
    row = find(keys, key)
    fresh = row == NO_ROW
    unused = fresh and keys.counts[USED] < keys.counts[CAPACITY]
    if unused:
        row = keys.counts[USED]
        keys.counts[USED] += 1
    elif fresh:
        row = _least_recently_used(keys)
    # Noted here and not by a call, whose arrays numba would count the references of.
    if not unused and keys.rows[row, LAST_USE] < keys.counts[NOTED_SINCE]:
        note = keys.counts[ROOM] + keys.counts[NOTED]
        if note < len(keys.rows):  # rows out of the order of time can change more than there is room for
            keys.oldest[note] = row
            for word in range(keys.rows.shape[1]):
                keys.rows[note, word] = keys.rows[row, word]
            keys.counts[NOTED] += 1
    if fresh:
        if not unused:
            _free_slot(keys, np.uint64(keys.rows[row, KEY]))
        keys.rows[row, KEY] = np.int64(key)
        insert(keys, row)
    keys.rows[row, LAST_USE] = keys.counts[CLOCK]
    keys.counts[CLOCK] += 1
    return row, fresh


@compiled
def take_back(keys: Keys, used: int) -> None:
    """Bring back what was noted; the counts are the caller's.

    Args:
        keys: The table.
        used: How many rows were used when the first note was taken.
    """
    for row in range(used, keys.counts[USED]):
        _free_slot(keys, np.uint64(keys.rows[row, KEY]))
        keys.rows[row] = 0
    first = keys.counts[ROOM]
    for note in range(first, first + keys.counts[NOTED]):
        _free_slot(keys, np.uint64(keys.rows[keys.oldest[note], KEY]))
    for note in range(first, first + keys.counts[NOTED]):
        row = int(keys.oldest[note])
        keys.rows[row] = keys.rows[note]
        insert(keys, row)


@compiled
def remove_all(keys: Keys, gone: Words) -> None:
    """Let the table know nothing of some keys; those that it does not know are ignored.

    The last used row takes the place of each row that is freed, and the order by last use is found anew.

    Args:
        keys: The table, of which nothing is noted.
        gone: (R,), NO_KEY for none.
    """
    for key in gone:
        row = find(keys, key) if key != NO_KEY else NO_ROW
        if row == NO_ROW:
            continue
        last = keys.counts[USED] - 1
        _free_slot(keys, key)
        if row != last:
            _free_slot(keys, np.uint64(keys.rows[last, KEY]))
            keys.rows[row] = keys.rows[last]
            insert(keys, row)
        keys.rows[last] = 0
        keys.counts[USED] = last
        keys.counts[NEXT] = 0
        keys.counts[SORTED] = 0


@compiled
def insert(keys: Keys, row: int) -> None:
    """Give a row's key a slot."""
    key, mask = np.uint64(keys.rows[row, KEY]), np.uint64(len(keys.slots) - 1)
    slot = key & mask
    while keys.slots[slot] != FREE:
        slot = (slot + ONE) & mask
    keys.slots[slot] = (key >> HALF << HALF) | np.uint64(row + 1)


@compiled
def insert_all(keys: Keys) -> None:
    """Give the keys of all used rows a slot."""
    for row in range(keys.counts[USED]):
        insert(keys, row)


@compiled
def _least_recently_used(keys: Keys) -> int:
    """Sort all rows by their last use now and then, and take the first that was not used since."""
    while True:
        if keys.counts[NEXT] == keys.counts[SORTED]:
            used = keys.counts[USED]
            keys.oldest[:used] = np.argsort(keys.rows[:used, LAST_USE])
            keys.counts[NEXT] = 0
            keys.counts[SORTED] = used
            keys.counts[SORTED_AT] = keys.counts[CLOCK]
        row = int(keys.oldest[keys.counts[NEXT]])
        keys.counts[NEXT] += 1
        if keys.rows[row, LAST_USE] < keys.counts[SORTED_AT]:
            return row


@compiled
def _free_slot(keys: Keys, key: np.uint64) -> None:
    """Take a key out, and move those behind it up, so that none is cut off from where its search begins.

    Source: Knuth, The Art of Computer Programming 3, 6.4, algorithm R.
    """
    mask = np.uint64(len(keys.slots) - 1)
    hole = key & mask
    while np.uint64(keys.rows[np.int64(keys.slots[hole] & LOWER) - 1, KEY]) != key:
        hole = (hole + ONE) & mask
    slot = hole
    while True:
        slot = (slot + ONE) & mask
        entry = keys.slots[slot]
        if entry == FREE:
            break
        home = np.uint64(keys.rows[np.int64(entry & LOWER) - 1, KEY]) & mask
        if ((slot - home) & mask) >= ((slot - hole) & mask):
            keys.slots[hole] = entry
            hole = slot
    keys.slots[hole] = FREE
