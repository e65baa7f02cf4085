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

from ranker.features.key_table import KeyTable
from ranker.features.kinds.columns import IdFeature
from ranker.features.record import Words
from ranker.features.state import kernels
from ranker.features.state.kernels import Times
from ranker.features.state.tracker import Arrays

_FOREVER_MS: Final = 2**62


class IdTable:
    """Which id has which row of a feature's table.

    Args:
        feature: Has a capacity, and may say after how many sightings ids are admitted, and when they expire.
    """

    def __init__(self, feature: IdFeature) -> None:
        assert feature.capacity is not None
        self._admit = feature.admission_threshold
        self._expire_ms = _FOREVER_MS if feature.expire_after is None else round(feature.expire_after * 1000)
        self._own = KeyTable(feature.capacity, words=2)
        self._waiting = KeyTable(feature.capacity, words=1)
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
        kernels.find_ids(self._own.arrays, since_ms, flat, found)
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
        count = kernels.see_ids(
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
