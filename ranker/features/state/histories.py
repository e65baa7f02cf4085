"""The last videos of each viewer by kind of feedback.

Shape letters: R rows, M rows of the log that may still be applied, I items of a list, N entries of a history,
F labels.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.compiled import compiled
from ranker.features.key_loops import KNOWN, NO_KEY, NO_ROW, Keys, Times, Words, find, use
from ranker.features.kinds.columns import IdFeature, IdsFeature
from ranker.features.kinds.learned import HistoryFeature
from ranker.features.layout import VIEWER
from ranker.features.record import RecordLayout
from ranker.features.state.known import Floats, History, Reading
from ranker.features.state.recency import age_s
from ranker.features.state.row_keys import part_keys
from ranker.features.state.tracker import SHOWN, Arrays, Replay, Tracker
from ranker.labels.label import Label

Ages = NDArray[np.float64]
WRITTEN: Final = KNOWN
"""The word that counts the entries that were written to a history in all."""
ENTRIES: Final = WRITTEN + 1
"""Where a history's entries begin: value, time, value, time and so on."""


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
        bound = feature.above if feature.below is None else feature.below
        self._bound = np.float32(bound)
        if self._label is not None:
            self._bound = labels[self._label].learned(np.array([bound], np.float32))[0]

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
        replay_histories(
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
        read_histories(self.table.arrays, viewers, times, history.values, history.ages_s)
        reading.histories[self.name] = history

    def observe(self, columns: Arrays, times: Times) -> None:
        """See `Tracker`."""
        if self._label is None:
            self._write(columns, times)

    def learn(self, columns: Arrays, times: Times, labels: Floats) -> None:
        """See `Tracker`."""
        if self._label is not None:
            enters = self._enters(labels)
            self._write({name: column[enters] for name, column in columns.items()}, times[enters])

    def _enters(self, labels: Floats) -> NDArray[np.bool_]:
        if self._label is None:
            return np.ones(len(labels), np.bool_)
        given = labels[:, self._label]
        enters: NDArray[np.bool_] = given < self._bound if self._below else given > self._bound
        return enters

    def _write(self, columns: Arrays, times: Times) -> None:
        viewers, values = columns[f"{self.name}/viewers"], columns[f"{self.name}/values"]
        self.table.reserve(len(viewers))
        write_histories(self.table.arrays, viewers, values, times)

    def _room_for(self, rows: int) -> History:
        shape = (rows, self._length)
        return History(np.empty(shape, np.uint64), np.empty(shape))


def _viewers(words: Words, records: RecordLayout) -> Words:
    return np.ascontiguousarray(words[:, records.place(VIEWER)])


@compiled
def _write_entries(keys: Keys, key: np.uint64, values: Words, at_ms: int) -> None:
    """Add entries, (I,), to a history, each in place of its oldest if there is no room left."""
    if key == NO_KEY:
        return
    row, fresh = use(keys, key)
    written = 0 if fresh else keys.rows[row, WRITTEN]
    for value in values:
        if value != NO_KEY:
            spot = ENTRIES + 2 * (written % ((keys.rows.shape[1] - ENTRIES) // 2))
            keys.rows[row, spot] = np.int64(value)
            keys.rows[row, spot + 1] = at_ms
            written += 1
    keys.rows[row, WRITTEN] = written


@compiled
def _read_entries(keys: Keys, key: np.uint64, now_ms: int, values: Words, ages_s: Ages) -> None:
    """Write a key's entries into (N,) and (N,), the newest first, NO_KEY and NaN where there are fewer."""
    length, there = len(values), 0
    row = find(keys, key) if key != NO_KEY else NO_ROW
    if row != NO_ROW:
        written = keys.rows[row, WRITTEN]
        there = min(written, length)
        spot = written % length
        for entry in range(there):
            spot = (spot if spot else length) - 1
            values[entry] = np.uint64(keys.rows[row, ENTRIES + 2 * spot])
            ages_s[entry] = age_s(keys.rows[row, ENTRIES + 2 * spot + 1], now_ms)
    values[there:] = NO_KEY
    ages_s[there:] = math.nan


@compiled
def replay_histories(
    keys: Keys,
    log_keys: Words,
    log_values: Words,
    log_ms: Times,
    log_enters: NDArray[np.bool_],
    first: int,
    applied: int,
    until: NDArray[np.int64],
    values: Words,
    ages_s: Ages,
) -> None:
    """Read each row of a batch when its request was made, as `replay_rates` does.

    Args:
        keys: The table, with room for N entries in a row.
        log_keys: (M,).
        log_values: (M, I) entries, NO_KEY where missing.
        log_ms: (M,).
        log_enters: (rows that become known,) which of them become entries; the first is row `applied`.
        first: Where the batch begins in the log.
        applied: How many rows of the log are known already.
        until: (R,) how many are when each row's request is made.
        values: (R, N) to write to.
        ages_s: (R, N) to write to.
    """
    done = applied
    for row in range(len(until)):
        for past in range(done, until[row]):
            if log_enters[past - applied]:
                _write_entries(keys, log_keys[past], log_values[past], log_ms[past])
        done = max(done, until[row])
        _read_entries(keys, log_keys[first + row], log_ms[first + row], values[row], ages_s[row])


@compiled
def write_histories(keys: Keys, rows_keys: Words, rows_values: Words, rows_ms: Times) -> None:
    """Add entries, (R,), (R, I) and (R,)."""
    for row in range(len(rows_keys)):
        _write_entries(keys, rows_keys[row], rows_values[row], rows_ms[row])


@compiled
def read_histories(keys: Keys, rows_keys: Words, rows_ms: Times, values: Words, ages_s: Ages) -> None:
    """Read rows, (R,) and (R,), into (R, N) and (R, N)."""
    for row in range(len(rows_keys)):
        _read_entries(keys, rows_keys[row], rows_ms[row], values[row], ages_s[row])
