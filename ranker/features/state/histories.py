"""The last videos of each viewer by kind of feedback.

Shape letters: R rows, M rows of the log that may still be applied, I items of a list, N entries of a history,
F labels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.compiled import compiled
from ranker.features.key_loops import KNOWN, NO_KEY, NO_ROW, USED, Keys, Times, Words, find, use
from ranker.features.key_table import Arrays
from ranker.features.kinds.column import ColumnFeature
from ranker.features.record import RecordLayout
from ranker.features.state.reading import Floats, History, Reading
from ranker.features.state.recency import age_s
from ranker.features.state.tracker import SHOWN, Replay, Tracker

Ages = NDArray[np.float64]
WRITTEN: Final = KNOWN
"""The word that counts the entries that were written to a history in all."""
ENTRIES: Final = WRITTEN + 1
"""Where a history's entries begin: value, time, value, time and so on."""


@dataclass(frozen=True)
class Admission:
    """Which videos enter a history.

    Attributes:
        label: Index of the label that decides.
        wait_s: Seconds after the impression at which it is known.
        bound: What the label, as the state counts it, must be greater than, or less than.
        below: Whether it must be less.
    """

    label: int
    wait_s: float
    bound: np.float32
    below: bool

    def admitted(self, labels: Floats) -> NDArray[np.bool_]:
        """(R,) which rows enter, of their labels (R, F); a missing label lets none in."""
        given = labels[:, self.label]
        admitted: NDArray[np.bool_] = given < self.bound if self.below else given > self.bound
        return admitted


class HistoryTracker(Tracker):
    """The state of a `history` feature.

    Args:
        name: The feature's.
        viewer: The column with the viewer's id.
        of: What is remembered of a video.
        admission: Which videos enter; None for all that were shown.
        capacity: Viewers that are kept.
        length: N entries of each.
    """

    def __init__(
        self,
        name: str,
        viewer: ColumnFeature,
        of: ColumnFeature,
        admission: Admission | None,
        *,
        capacity: int,
        length: int,
    ) -> None:
        super().__init__(name, capacity, words=1 + 2 * length)
        self._viewer, self._of = viewer, of
        self._admission = admission
        self._wait = SHOWN if admission is None else admission.wait_s
        self._length = length

    @property
    def waits(self) -> frozenset[float]:
        """That of its label; 0 if every video that was shown is remembered."""
        return frozenset([self._wait])

    def columns(self, words: Words, records: RecordLayout) -> Arrays:
        """The viewers, (R,), and what is remembered, (R, I): of a list, each item is an entry."""
        values = np.ascontiguousarray(self._of.keys(words, records))
        return {f"{self.name}/viewers": self._viewers(words, records), f"{self.name}/values": values}

    @property
    def column_types(self) -> Mapping[str, type[np.generic]]:
        """See `Tracker`."""
        return {f"{self.name}/viewers": np.uint64, f"{self.name}/values": np.uint64}

    def replay(self, log: Replay, reading: Reading) -> None:
        """See `Tracker`."""
        until, applied = log.until[self._wait], log.applied[self._wait]
        self.table.reserve(int(until[-1]) - applied)
        self.table.note(int(until[-1]) - applied if log.reversible else None)
        history = self._room_for(len(until))
        due = slice(applied, int(until[-1]))
        known = np.ones(due.stop - due.start, np.bool_)
        replay_histories(
            self.table.arrays,
            log.columns[f"{self.name}/viewers"],
            log.columns[f"{self.name}/values"],
            log.times,
            known if self._admission is None else self._admission.admitted(log.labels[due]),
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
        viewers = self._viewers(words, records)
        read_histories(self.table.arrays, viewers, times, history.values, history.ages_s)
        reading.histories[self.name] = history

    def observe(self, columns: Arrays, times: Times) -> None:
        """See `Tracker`."""
        if self._admission is None:
            self._write(columns, times)

    def learn(self, columns: Arrays, times: Times, labels: Floats) -> None:
        """See `Tracker`."""
        if self._admission is not None:
            enters = self._admission.admitted(labels)
            self._write({name: column[enters] for name, column in columns.items()}, times[enters])

    def forget(self, gone: Arrays) -> None:
        """See `Tracker`; videos leave the histories of those who stay."""
        self.table.remove(gone[f"{self.name}/viewers"])
        values = gone[f"{self.name}/values"]
        if len(values):
            forget_entries(self.table.arrays, values)

    def _write(self, columns: Arrays, times: Times) -> None:
        viewers, values = columns[f"{self.name}/viewers"], columns[f"{self.name}/values"]
        self.table.reserve(len(viewers))
        write_histories(self.table.arrays, viewers, values, times)

    def _viewers(self, words: Words, records: RecordLayout) -> Words:
        return np.ascontiguousarray(self._viewer.keys(words, records)[:, 0])

    def _room_for(self, rows: int) -> History:
        shape = (rows, self._length)
        return History(np.empty(shape, np.uint64), np.empty(shape))


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
def forget_entries(keys: Keys, gone: Words) -> None:
    """Take some values, (R,), out of all histories; what stays is in the same order."""
    length = (keys.rows.shape[1] - ENTRIES) // 2
    for row in range(keys.counts[USED]):
        entries = keys.rows[row, ENTRIES:].copy()
        written = keys.rows[row, WRITTEN]
        kept = 0
        for entry in range(max(written - length, 0), written):  # the oldest first
            spot = 2 * (entry % length)
            stays = True
            for value in gone:
                stays = stays and entries[spot] != np.int64(value)
            if stays:
                keys.rows[row, ENTRIES + 2 * kept] = entries[spot]
                keys.rows[row, ENTRIES + 2 * kept + 1] = entries[spot + 1]
                kept += 1
        if kept < min(written, length):
            keys.rows[row, ENTRIES + 2 * kept :] = 0
            keys.rows[row, WRITTEN] = kept
        else:
            keys.rows[row, ENTRIES:] = entries


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
