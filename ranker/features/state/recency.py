"""When each key was last shown.

Shape letters: R rows, M rows of the log that may still be applied, K keys of a row, N numbers of a group.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.compiled import compiled
from ranker.features.key_loops import KNOWN, NO_KEY, NO_ROW, Keys, Times, Words, find, use
from ranker.features.key_table import Arrays
from ranker.features.record import RecordLayout
from ranker.features.state.reading import Floats, Reading
from ranker.features.state.row_keys import RowKeys
from ranker.features.state.tracker import SHOWN, KeyedTracker, Replay

LAST_SEEN: Final = KNOWN
"""The word with the time at which a key was last shown."""


class RecencyTracker(KeyedTracker):
    """The state of an `age` feature with a key.

    Args:
        name: The feature's.
        keys: Reads the keys of rows.
        capacity: Keys that are kept.
    """

    def __init__(self, name: str, keys: RowKeys, *, capacity: int) -> None:
        super().__init__(name, keys, capacity, words=1)

    @property
    def waits(self) -> frozenset[float]:
        """Nothing but 0: an impression is known as soon as it is made."""
        return frozenset([SHOWN])

    def replay(self, log: Replay, reading: Reading) -> None:
        """See `Tracker`; what is read are seconds since the last sighting, NaN if there was none."""
        keys, until = log.columns[f"{self.name}/keys"], log.until[SHOWN]
        uses = (int(until[-1]) - log.applied[SHOWN]) * keys.shape[1]
        self.table.reserve(uses)
        self.table.note(uses)
        block = reading.numbers[self.name]
        replay_recency(
            self.table.arrays,
            keys,
            log.times,
            log.first,
            log.applied[SHOWN],
            until,
            block.numbers,
            block.first,
        )

    def look_up(self, words: Words, records: RecordLayout, times: Times, reading: Reading) -> None:
        """See `Tracker`."""
        keys, block = self._keys(words, records), reading.numbers[self.name]
        last_seen_of(self.table.arrays, keys, times, block.numbers, block.first)

    def observe(self, columns: Arrays, times: Times) -> None:
        """See `Tracker`."""
        keys = columns[f"{self.name}/keys"]
        self.table.reserve(keys.size)
        see_all(self.table.arrays, keys, times)

    def learn(self, columns: Arrays, times: Times, labels: Floats) -> None:
        """Nothing: feedback is no sighting."""


@compiled
def age_s(then_ms: int, now_ms: int) -> float:
    """Seconds between two times, 0 if the first one is the later."""
    return max(now_ms - then_ms, 0) / 1000


@compiled
def _see(keys: Keys, row_keys: Words, at_ms: int) -> None:
    """Note when a row's keys, (K,), were seen."""
    for key in row_keys:
        if key != NO_KEY:
            row, fresh = use(keys, key)
            keys.rows[row, LAST_SEEN] = at_ms if fresh else max(at_ms, keys.rows[row, LAST_SEEN])


@compiled
def _last_seen_s(keys: Keys, row_keys: Words, now_ms: int) -> float:
    """How long ago any of a row's keys, (K,), was last seen, NaN if none was."""
    seen, latest_ms = False, 0
    for key in row_keys:
        row = find(keys, key) if key != NO_KEY else NO_ROW
        if row != NO_ROW:
            latest_ms = max(latest_ms, keys.rows[row, LAST_SEEN]) if seen else keys.rows[row, LAST_SEEN]
            seen = True
    return age_s(latest_ms, now_ms) if seen else math.nan


@compiled
def replay_recency(
    keys: Keys,
    log_keys: Words,
    log_ms: Times,
    first: int,
    applied: int,
    until: NDArray[np.int64],
    numbers: Floats,
    column: int,
) -> None:
    """Read each row of a batch when its request was made, as `replay_rates` does, into a column of (R, N)."""
    done = applied
    for row in range(len(until)):
        for past in range(done, until[row]):
            _see(keys, log_keys[past], log_ms[past])
        done = max(done, until[row])
        numbers[row, column] = _last_seen_s(keys, log_keys[first + row], log_ms[first + row])


@compiled
def see_all(keys: Keys, rows_keys: Words, rows_ms: Times) -> None:
    """Note when the keys of rows, (R, K), were seen."""
    for row in range(len(rows_keys)):
        _see(keys, rows_keys[row], rows_ms[row])


@compiled
def last_seen_of(keys: Keys, rows_keys: Words, rows_ms: Times, numbers: Floats, column: int) -> None:
    """Read rows, (R, K), as of (R,), into a column of (R, N)."""
    for row in range(len(rows_keys)):
        numbers[row, column] = _last_seen_s(keys, rows_keys[row], rows_ms[row])
