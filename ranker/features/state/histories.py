"""The last videos of each viewer by kind of feedback.

Shape letters: R rows, N videos of a history, T tasks.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ranker.feature_spec import IdFeature
from ranker.features.layout import VIEWER
from ranker.features.record import RecordLayout, Words
from ranker.features.state import kernels
from ranker.features.state.kernels import Cells, Rings, Times
from ranker.features.state.tracker import Arrays, Replay, Tracker, longer
from ranker.spec import Task
from ranker.state_spec import HistoryFeature


class HistoryTracker(Tracker):
    """The state of a `history` feature.

    Args:
        feature: The feature.
        of: What is remembered of a video.
        tasks: All of the spec's.
    """

    def __init__(self, feature: HistoryFeature, of: IdFeature, tasks: Sequence[Task]) -> None:
        super().__init__(feature.name, feature.capacity)
        self._of = of
        self._label = next((p for p, task in enumerate(tasks) if task.name == feature.label), None)
        self._wait = 0.0 if self._label is None else tasks[self._label].label_wait
        self._above = feature.above
        shape = (self.table.room, feature.length)
        self._rings = Rings(
            np.zeros(shape, np.uint64), np.zeros(shape, np.int64), np.zeros(shape[0], np.int64)
        )

    @property
    def waits(self) -> frozenset[float]:
        """That of its label; none if every video that was shown is remembered."""
        return frozenset([self._wait])

    def keys(self, words: Words, records: RecordLayout) -> Arrays:
        """The viewers, (R,)."""
        return {f"{self.name}/viewers": np.ascontiguousarray(words[:, records.place(VIEWER)])}

    def columns(self, words: Words, records: RecordLayout) -> Arrays:
        """The viewers, (R,), and what is remembered, (R,)."""
        values = np.ascontiguousarray(words[:, records.place(self._of)])
        return {**self.keys(words, records), f"{self.name}/values": values}

    def replay(self, log: Replay) -> Arrays:
        """See `Tracker`; what is read are values and times, both (R, N), the newest first."""
        until = log.until[self._wait]
        viewers = log.columns[f"{self.name}/viewers"]
        self._reserve(int(until[-1:].sum()) - log.applied[self._wait])
        values, times = self._room_for(len(until))
        kernels.replay_rings(
            self.table.arrays,
            self._rings,
            viewers,
            log.columns[f"{self.name}/values"],
            log.times,
            self._enters(log.labels),
            log.first,
            log.applied[self._wait],
            until,
            values,
            times,
        )
        return {"values": values, "times": times}

    def look_up(self, keys: Arrays, times: Times) -> Arrays:
        """See `Tracker`."""
        viewers = keys[f"{self.name}/viewers"]
        values, seen = self._room_for(len(viewers))
        kernels.read_rings(self.table.arrays, self._rings, viewers, values, seen)
        return {"values": values, "times": seen}

    def observe(self, columns: Arrays, times: Times) -> None:
        """See `Tracker`."""
        if self._label is None:
            self._write(columns, times)

    def learn(self, columns: Arrays, times: Times, labels: Cells) -> None:
        """See `Tracker`."""
        if self._label is not None:
            enters = self._enters(labels)
            self._write({name: column[enters] for name, column in columns.items()}, times[enters])

    def state(self) -> Arrays:
        """See `Tracker`."""
        rows = self.table.by_recency()
        return {
            "keys": self.table.arrays.keys[rows],
            **{n: a[rows] for n, a in self._rings._asdict().items()},
        }

    def load(self, state: Arrays) -> None:
        """See `Tracker`."""
        self.table.load(state["keys"])
        self._rings = Rings(*(longer(state[name], self.table.room).copy() for name in Rings._fields))

    def _enters(self, labels: Cells) -> NDArray[np.bool_]:
        if self._label is None:
            return np.ones(len(labels), np.bool_)
        enters: NDArray[np.bool_] = labels[:, self._label] > self._above
        return enters

    def _write(self, columns: Arrays, times: Times) -> None:
        viewers = columns[f"{self.name}/viewers"]
        self._reserve(len(viewers))
        kernels.write_rings(self.table.arrays, self._rings, viewers, columns[f"{self.name}/values"], times)

    def _reserve(self, keys: int) -> None:
        self.table.reserve(keys)
        self._rings = Rings(*(longer(array, self.table.room) for array in self._rings))

    def _room_for(self, rows: int) -> tuple[Words, Times]:
        shape = (rows, self._rings.times.shape[1])
        return np.empty(shape, np.uint64), np.empty(shape, np.int64)
