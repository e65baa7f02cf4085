"""The last videos of each viewer by kind of feedback.

Shape letters: R rows, N videos of a history, T tasks.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ranker.features.kinds.columns import IdFeature, IdsFeature
from ranker.features.kinds.learned import HistoryFeature
from ranker.features.layout import VIEWER
from ranker.features.record import RecordLayout, Words
from ranker.features.state import kernels
from ranker.features.state.kernels import Cells, Times
from ranker.features.state.known import History, Reading
from ranker.features.state.row_keys import part_keys
from ranker.features.state.tracker import SHOWN, Arrays, Replay, Tracker
from ranker.labels.label import Label


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

    def columns(self, words: Words, records: RecordLayout) -> Arrays:
        """The viewers, (R,), and what is remembered, (R, I): of a list, each item is an entry."""
        values = np.ascontiguousarray(part_keys(self._of, words, records))
        return {f"{self.name}/viewers": _viewers(words, records), f"{self.name}/values": values}

    def replay(self, log: Replay, reading: Reading) -> None:
        """See `Tracker`."""
        until, applied = log.until[self._wait], log.applied[self._wait]
        self.table.reserve(int(until[-1]) - applied)
        history = self._room_for(len(until))
        kernels.replay_histories(
            self.table.arrays,
            log.columns[f"{self.name}/viewers"],
            log.columns[f"{self.name}/values"],
            log.times,
            self._enters(log.labels[applied : int(until[-1])]),
            log.first,
            applied,
            until,
            history.values,
            history.ages_s,
        )
        reading.histories[self.name] = history

    def look_up(self, words: Words, records: RecordLayout, times: Times, reading: Reading) -> None:
        """See `Tracker`."""
        history = self._room_for(len(times))
        viewers = _viewers(words, records)
        kernels.read_histories(self.table.arrays, viewers, times, history.values, history.ages_s)
        reading.histories[self.name] = history

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

    def _room_for(self, rows: int) -> History:
        shape = (rows, self._length)
        return History(np.empty(shape, np.uint64), np.empty(shape))


def _viewers(words: Words, records: RecordLayout) -> Words:
    return np.ascontiguousarray(words[:, records.place(VIEWER)])
