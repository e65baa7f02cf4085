"""Rows of their own for the ids that are seen often enough, without collisions and bounded in number.

An id has a row after so many sightings and shares one with all others before. It loses the row when it was
not seen for a while, or when there are too many and it is the one not seen for longest; then its sightings
are counted anew. Those of ids without a row are remembered for as many ids as there are rows, the last seen.

Source: Liu et al. 2022 (Monolith), arXiv 2209.07663.

Shape letters: R rows, K ids of a row, N ids with a row, M ids without one.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranker.compiled import compiled
from ranker.features.key_loops import KNOWN, NO_KEY, NO_ROW, Keys, Times, Words, find, use
from ranker.features.key_table import Arrays, KeyTable

_FOREVER_MS: Final = 2**62
NEVER_SEEN: Final = -(2**63)
"""In place of the time at which an id was last seen."""
OWN_ROW: Final = KNOWN
SEEN: Final = KNOWN + 1
"""Words of an id with a row of its own: the row, 0 before there is one, and when the id was last seen."""
SIGHTINGS: Final = KNOWN
"""The word of an id without one that counts how often it was seen."""
FIRST_OWN: Final = 2
"""The first row that belongs to one id alone: behind those of missing ids and of ids without a row."""


class IdTable:
    """Which id has which row of a feature's table.

    Args:
        capacity: Ids that have a row at most.
        admission_threshold: Sightings after which an id has a row.
        expire_after_s: Seconds after which an id that was not seen loses its row; None for never.
    """

    def __init__(self, capacity: int, admission_threshold: int, expire_after_s: float | None) -> None:
        self._admit = admission_threshold
        self._expire_ms = _FOREVER_MS if expire_after_s is None else round(expire_after_s * 1000)
        self._own = KeyTable(capacity, words=2)
        self._waiting = KeyTable(capacity, words=1)
        self._latest_ms = 0

    def rows(self, keys: Words) -> NDArray[np.int64]:
        """Look ids up.

        Args:
            keys: Their hashes in any shape, MISSING_KEY where missing.

        Returns:
            As many: 0 where missing, 1 for all ids without a row of their own, else 2 and above.
        """
        found = np.empty(keys.size, np.int64)
        since_ms = self._latest_ms - self._expire_ms
        flat = np.ascontiguousarray(keys).reshape(-1)
        find_ids(self._own.arrays, since_ms, flat, found)
        return found.reshape(keys.shape)

    def observe(self, keys: Words, times: Times) -> NDArray[np.int64]:
        """Count sightings, and give rows to the ids that had enough.

        Args:
            keys: (R, K) hashes, MISSING_KEY where missing.
            times: (R,) int64 milliseconds, in order.

        Returns:
            The rows that ids were given, some of them twice: what they held was another id's.
        """
        if not len(times):
            return np.empty(0, np.int64)
        self._own.reserve(keys.size)
        if self._admit > 1:
            self._waiting.reserve(keys.size)
        given = np.empty(keys.size, np.int64)
        count = see_ids(
            self._own.arrays,
            self._waiting.arrays,
            np.ascontiguousarray(keys),
            times,
            self._admit,
            self._expire_ms,
            given,
        )
        self._latest_ms = int(times[-1])
        return given[:count]

    def forget(self, keys: Words) -> None:
        """Let some ids, (R,), share the row of those that were never seen, until they are seen often enough.

        A row that was an id's own stays with it, out of use, as one that has expired.
        """
        rows = np.empty(len(keys), np.int64)
        rows_of(self._own.arrays, keys, rows)
        self._own.arrays.rows[rows[rows != NO_ROW], SEEN] = NEVER_SEEN
        self._waiting.remove(keys)

    def state(self) -> Arrays:
        """Everything, as named int64 arrays: (N, ...) of ids with a row, (M, ...) of others, oldest first."""
        own, waiting = self._own.by_recency(), self._waiting.by_recency()
        return {
            "own": self._own.keys(own).view(np.int64),
            "rows_and_times": self._own.known(own),
            "waiting": self._waiting.keys(waiting).view(np.int64),
            "sightings": self._waiting.known(waiting),
            "latest_ms": np.array([self._latest_ms], np.int64),
        }

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a saved state."""
        self._own.load(state["own"].view(np.uint64), state["rows_and_times"])
        self._waiting.load(state["waiting"].view(np.uint64), state["sightings"])
        self._latest_ms = int(state["latest_ms"][0])


@compiled
def rows_of(own: Keys, ids: Words, found: NDArray[np.int64]) -> None:
    """Look up where ids, (R,), stand in the table; NO_ROW where they do not."""
    for index in range(len(ids)):
        found[index] = find(own, ids[index]) if ids[index] != NO_KEY else NO_ROW


@compiled
def find_ids(own: Keys, since_ms: int, ids: Words, found: NDArray[np.int64]) -> None:
    """Look up the rows of ids.

    Args:
        own: The ids that have a row, and when each was last seen.
        since_ms: Those last seen before have lost their row.
        ids: (R,), NO_KEY where missing.
        found: (R,) to write to: 0 where missing, 1 where an id has no row of its own.
    """
    for index in range(len(ids)):
        found[index] = 0
        if ids[index] != NO_KEY:
            row = find(own, ids[index])
            there = row != NO_ROW and own.rows[row, SEEN] >= since_ms
            found[index] = own.rows[row, OWN_ROW] if there else 1


@compiled
def see_ids(
    own: Keys,
    waiting: Keys,
    rows_ids: Words,
    rows_ms: Times,
    admit: int,
    expire_ms: int,
    given: NDArray[np.int64],
) -> int:
    """Count the sightings of ids, and give a row to those that had enough.

    A row that expired stays with its id, out of use, until another one or the same one is given it.

    Args:
        own: The ids that have a row, and when each was last seen.
        waiting: The ids that have none, and how often each was seen.
        rows_ids: (R, K), NO_KEY where missing.
        rows_ms: (R,) when they were seen, in order.
        admit: Sightings that are enough.
        expire_ms: An id last seen longer ago than that has lost its row.
        given: (R K,) to write the rows to that were given out, in order.

    Returns:
        How many were.
    """
    count = 0
    for index in range(len(rows_ms)):
        for key in rows_ids[index]:
            if key == NO_KEY:
                continue
            row = find(own, key)
            lacks = row == NO_ROW or own.rows[row, SEEN] < rows_ms[index] - expire_ms
            if lacks and not _admitted(waiting, key, admit):
                continue
            row, _ = use(own, key)
            own.rows[row, SEEN] = rows_ms[index]
            if lacks:
                if own.rows[row, OWN_ROW] == 0:  # the table has never used it; others have all rows before
                    own.rows[row, OWN_ROW] = FIRST_OWN + row
                given[count] = own.rows[row, OWN_ROW]
                count += 1
    return count


@compiled
def _admitted(waiting: Keys, key: np.uint64, admit: int) -> bool:
    """Whether an id's sightings are enough with this one; then they are counted from 0 again."""
    if admit == 1:
        return True
    row, fresh = use(waiting, key)
    sightings = 1 if fresh else waiting.rows[row, SIGHTINGS] + 1
    waiting.rows[row, SIGHTINGS] = sightings % admit
    return sightings >= admit
