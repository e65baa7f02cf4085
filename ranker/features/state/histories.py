"""The last videos of each viewer by kind of feedback.

Shape letters: R rows, N videos of a history, T tasks.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ranker.feature_spec import IdFeature, IdsFeature
from ranker.features.layout import VIEWER
from ranker.features.record import RecordLayout, Words
from ranker.features.state import kernels
from ranker.features.state.kernels import Ages, Cells, Times
from ranker.features.state.row_keys import part_keys
from ranker.features.state.tracker import SHOWN, Arrays, Replay, Tracker
from ranker.spec import Label
from ranker.state_spec import HistoryFeature


class HistoryTracker(Tracker):
    """The state of a `history` feature.

    Args:
        feature: The feature.
        of: What is remembered of a video.
        labels: All of the spec's.
    """

    def __init__(self, feature: HistoryFeature, of: IdFeature | IdsFeature, labels: Sequence[Label]) -> None:
        super().__init__(feature.name, feature.capacity, words=1 + 2 * feature.length)
        self._length = feature.length
        self._of = of
        self._label = next((p for p, label in enumerate(labels) if label.name == feature.label), None)
        self._wait = SHOWN if self._label is None else labels[self._label].label_wait
        self._below = feature.below is not None
        self._bound = np.float32(feature.above if feature.below is None else feature.below)
        if self._label is not None and labels[self._label].transform == "log1p":
            self._bound = np.log1p(max(self._bound, np.float32(-0.5)))  # such labels are 0 or more

    @property
    def waits(self) -> frozenset[float]:
        """That of its label; 0 if every video that was shown is remembered."""
        return frozenset([self._wait])

    def keys(self, words: Words, records: RecordLayout) -> Arrays:
        """The viewers, (R,)."""
        return {f"{self.name}/viewers": np.ascontiguousarray(words[:, records.place(VIEWER)])}

    def columns(self, words: Words, records: RecordLayout) -> Arrays:
        """The viewers, (R,), and what is remembered, (R, I): of a list, each item is an entry."""
        values = np.ascontiguousarray(part_keys(self._of, words, records))
        return {**self.keys(words, records), f"{self.name}/values": values}

    def replay(self, log: Replay) -> Arrays:
        """See `Tracker`; what is read are values and ages in seconds, both (R, N), the newest first."""
        until, applied = log.until[self._wait], log.applied[self._wait]
        self.table.reserve(int(until[-1]) - applied)
        values, ages_s = self._room_for(len(until))
        kernels.replay_histories(
            self.table.arrays,
            log.columns[f"{self.name}/viewers"],
            log.columns[f"{self.name}/values"],
            log.times,
            self._enters(log.labels[applied : int(until[-1])]),
            log.first,
            applied,
            until,
            values,
            ages_s,
        )
        return {"values": values, "ages_s": ages_s}

    def look_up(self, keys: Arrays, times: Times, read: Mapping[str, Arrays]) -> Arrays:
        """See `Tracker`."""
        values, ages_s = self._room_for(len(times))
        kernels.read_histories(self.table.arrays, keys[f"{self.name}/viewers"], times, values, ages_s)
        return {"values": values, "ages_s": ages_s}

    def observe(self, columns: Arrays, times: Times) -> None:
        """See `Tracker`."""
        if self._label is None:
            self._write(columns, times)

    def learn(self, columns: Arrays, times: Times, labels: Cells) -> None:
        """See `Tracker`."""
        if self._label is not None:
            enters = self._enters(labels)
            self._write({name: column[enters] for name, column in columns.items()}, times[enters])

    def _enters(self, labels: Cells) -> NDArray[np.bool_]:
        if self._label is None:
            return np.ones(len(labels), np.bool_)
        given = labels[:, self._label]
        enters: NDArray[np.bool_] = given < self._bound if self._below else given > self._bound
        return enters

    def _write(self, columns: Arrays, times: Times) -> None:
        viewers, values = columns[f"{self.name}/viewers"], columns[f"{self.name}/values"]
        self.table.reserve(len(viewers))
        kernels.write_histories(self.table.arrays, viewers, values, times)

    def _room_for(self, rows: int) -> tuple[Words, Ages]:
        shape = (rows, self._length)
        return np.empty(shape, np.uint64), np.empty(shape)
