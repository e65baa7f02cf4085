"""When each key was last shown.

Shape letters: R rows, K keys of a row.
"""

from collections.abc import Sequence

import numpy as np

from ranker.features.layout import KeyPart
from ranker.features.record import RecordLayout, Words
from ranker.features.state import kernels
from ranker.features.state.kernels import Cells, Times
from ranker.features.state.row_keys import row_keys
from ranker.features.state.tracker import Arrays, Replay, Tracker, longer
from ranker.state_spec import AgeFeature

SHOWN = 0.0
"""Seconds after an impression at which it is known that it was shown."""


class SightingTracker(Tracker):
    """The state of an `age` feature with a key.

    Args:
        feature: The feature.
        parts: The features that its key combines.
    """

    def __init__(self, feature: AgeFeature, parts: Sequence[KeyPart]) -> None:
        super().__init__(feature.name, feature.capacity)
        self._parts = parts
        self._seen_ms = np.zeros(self.table.room, np.int64)

    @property
    def waits(self) -> frozenset[float]:
        """None: an impression is known as soon as it is made."""
        return frozenset([SHOWN])

    def keys(self, words: Words, records: RecordLayout) -> Arrays:
        """The keys, (R, K)."""
        return {f"{self.name}/keys": row_keys(self._parts, words, records)}

    def replay(self, log: Replay) -> Arrays:
        """See `Tracker`; what is read is the time of the last sighting, (R,)."""
        keys, until = log.columns[f"{self.name}/keys"], log.until[SHOWN]
        self._reserve((int(until[-1:].sum()) - log.applied[SHOWN]) * keys.shape[1])
        latest_ms = np.empty(len(until), np.int64)
        kernels.replay_sightings(
            self.table.arrays,
            self._seen_ms,
            keys,
            log.times,
            log.first,
            log.applied[SHOWN],
            until,
            latest_ms,
        )
        return {"latest_ms": latest_ms}

    def look_up(self, keys: Arrays, times: Times) -> Arrays:
        """See `Tracker`."""
        latest_ms = np.empty(len(times), np.int64)
        kernels.last_seen_of(self.table.arrays, self._seen_ms, keys[f"{self.name}/keys"], latest_ms)
        return {"latest_ms": latest_ms}

    def observe(self, columns: Arrays, times: Times) -> None:
        """See `Tracker`."""
        keys = columns[f"{self.name}/keys"]
        self._reserve(keys.size)
        kernels.see_all(self.table.arrays, self._seen_ms, keys, times)

    def learn(self, columns: Arrays, times: Times, labels: Cells) -> None:
        """Nothing: feedback is no sighting."""

    def state(self) -> Arrays:
        """See `Tracker`."""
        rows = self.table.by_recency()
        return {"keys": self.table.arrays.keys[rows], "seen_ms": self._seen_ms[rows]}

    def load(self, state: Arrays) -> None:
        """See `Tracker`."""
        self.table.load(state["keys"])
        self._seen_ms = longer(state["seen_ms"], self.table.room).copy()

    def _reserve(self, keys: int) -> None:
        self.table.reserve(keys)
        self._seen_ms = longer(self._seen_ms, self.table.room)
