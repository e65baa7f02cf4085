"""The compiled part of the state, all of it: tables of keys, decayed rates, histories and last sightings.

It is one file because compiled code that is kept is made anew when its own file changes, not when another
one that it calls does. Nothing here allocates: the callers see to it that there is room.

Shape letters: C rows of a table that there is room for, S slots, at least 2 C; R rows of a batch, M rows of
the log that may still be applied, K keys of a row, L labels, H half-lives, W waits, N entries of a ring.
"""

import logging
import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)
Kernel = TypeVar("Kernel", bound=Callable[..., Any])
Words = NDArray[np.uint64]
Times = NDArray[np.int64]
Cells = NDArray[np.float32]

NONE: Final = -1
"""In place of a row: there is none."""
NO_KEY: Final = np.uint64(0)
"""In place of a key: the value is missing."""
NEVER: Final = -(2**63)
"""In place of a time: it did not happen."""
OLDEST: Final = 0
NEWEST: Final = 1
USED: Final = 2
MOST: Final = 3
LN_2: Final = math.log(2.0)


def compiled(function: Kernel) -> Kernel:
    """Compile a function of numbers, arrays and named tuples of arrays at its first call.

    What was compiled is kept beside the source, or in the user's cache if that cannot be written; where
    neither can be, every process compiles anew. Compiled code does not hold the interpreter's lock.
    """
    try:
        return cast(Kernel, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError as error:  # numba finds no folder that it may write to
        logger.debug("compiled code of %s is not kept: %s", function.__name__, error)
        return cast(Kernel, numba.njit(nogil=True, error_model="numpy")(function))


class Keys(NamedTuple):
    """Rows for keys: a hash table with linear probing (keys are hashes already), linked by recency.

    Attributes:
        slots: (S,) int32 rows, NONE where free.
        keys: (C,) uint64 key of each used row.
        older: (C,) int32 the row that was used before this one.
        newer: (C,) int32 the row that was used after it.
        ends: (4,) int64 the oldest row, the newest, how many are used, how many may be.
    """

    slots: NDArray[np.int32]
    keys: Words
    older: NDArray[np.int32]
    newer: NDArray[np.int32]
    ends: NDArray[np.int64]


class Rates(NamedTuple):
    """Decayed sums of labels by key; row 0 holds everything, row r + 1 the key of row r.

    Attributes:
        cells: (C + 1, H, 2, L) float32 sum of a label, and number of rows with it.
        at_ms: (C + 1,) int64 the time to which a row's cells are decayed.
    """

    cells: Cells
    at_ms: Times


class Rings(NamedTuple):
    """The last entries of each key.

    Attributes:
        values: (C, N) uint64.
        times: (C, N) int64 milliseconds.
        written: (C,) int64 how many were written in all; the next one goes to that modulo N.
    """

    values: Words
    times: Times
    written: Times


@compiled
def find(keys: Keys, key: np.uint64) -> int:
    """The row of a key, NONE if it has none."""
    mask = np.uint64(len(keys.slots) - 1)
    slot = key & mask
    while True:
        row = keys.slots[slot]
        if row == NONE or keys.keys[row] == key:
            return int(row)
        slot = (slot + np.uint64(1)) & mask


@compiled
def use(keys: Keys, key: np.uint64) -> tuple[int, bool]:
    """The row of a key, which becomes the most recently used, and whether the row is new to it."""
    row = find(keys, key)
    if row != NONE:
        if row != keys.ends[NEWEST]:
            _unlink(keys, row)
            _link(keys, row)
        return row, False
    if keys.ends[USED] < keys.ends[MOST]:
        row = keys.ends[USED]
        keys.ends[USED] += 1
    else:
        row = keys.ends[OLDEST]
        _unlink(keys, row)
        _free_slot(keys, keys.keys[row])
    keys.keys[row] = key
    place(keys, row)
    _link(keys, row)
    return row, True


@compiled
def place(keys: Keys, row: int) -> None:
    """Give a row's key a slot."""
    mask = np.uint64(len(keys.slots) - 1)
    slot = keys.keys[row] & mask
    while keys.slots[slot] != NONE:
        slot = (slot + np.uint64(1)) & mask
    keys.slots[slot] = row


@compiled
def use_all(keys: Keys, hashed: Words) -> None:
    """Use one key after the other."""
    for key in hashed:
        use(keys, key)


@compiled
def place_all(keys: Keys) -> None:
    """Give the keys of all used rows a slot."""
    for row in range(keys.ends[USED]):
        place(keys, row)


@compiled
def by_recency(keys: Keys, rows: NDArray[np.int64]) -> None:
    """Write the used rows into `rows`, the least recently used first."""
    row = keys.ends[OLDEST]
    for position in range(len(rows)):
        rows[position] = row
        row = keys.newer[row]


@compiled
def _link(keys: Keys, row: int) -> None:
    newest = keys.ends[NEWEST]
    keys.older[row] = newest
    keys.newer[row] = NONE
    if newest == NONE:
        keys.ends[OLDEST] = row
    else:
        keys.newer[newest] = row
    keys.ends[NEWEST] = row


@compiled
def _unlink(keys: Keys, row: int) -> None:
    older, newer = keys.older[row], keys.newer[row]
    if older == NONE:
        keys.ends[OLDEST] = newer
    else:
        keys.newer[older] = newer
    if newer == NONE:
        keys.ends[NEWEST] = older
    else:
        keys.older[newer] = older


@compiled
def _free_slot(keys: Keys, key: np.uint64) -> None:
    """Take a key out, and move those behind it up, so that none is cut off from where its search begins.

    Source: Knuth, The Art of Computer Programming 3, 6.4, algorithm R.
    """
    one, mask = np.uint64(1), np.uint64(len(keys.slots) - 1)
    hole = key & mask
    while keys.keys[keys.slots[hole]] != key:
        hole = (hole + one) & mask
    slot = hole
    while True:
        slot = (slot + one) & mask
        row = keys.slots[slot]
        if row == NONE:
            break
        home = keys.keys[row] & mask
        if ((slot - home) & mask) >= ((slot - hole) & mask):
            keys.slots[hole] = row
            hole = slot
    keys.slots[hole] = NONE


@compiled
def learn_rates(
    keys: Keys, rates: Rates, row_keys: Words, at_ms: int, sums: Cells, half_lives_ms: NDArray[np.float64]
) -> None:
    """Add one row's labels to all of its keys and to everything.

    Args:
        keys: The table.
        rates: Its rows.
        row_keys: (K,), NO_KEY where missing.
        at_ms: When the row was shown.
        sums: (2, L) its labels, and 1 for each; 0 and 0 where missing.
        half_lives_ms: (H,).
    """
    for key in row_keys:
        if key != NO_KEY:
            row, fresh = use(keys, key)
            if fresh:
                rates.cells[row + 1] = 0
                rates.at_ms[row + 1] = at_ms
            _add(rates, row + 1, at_ms, sums, half_lives_ms)
    _add(rates, 0, at_ms, sums, half_lives_ms)


@compiled
def _add(rates: Rates, row: int, at_ms: int, sums: Cells, half_lives_ms: NDArray[np.float64]) -> None:
    elapsed_ms = at_ms - rates.at_ms[row]
    for h in range(len(half_lives_ms)):
        share = np.float32(math.exp(-LN_2 * abs(elapsed_ms) / half_lives_ms[h]))
        old, new = np.float32(1), share  # what is added is the older: it happens when waits differ
        if elapsed_ms >= 0:
            old, new = share, np.float32(1)
        for part in range(2):
            for label in range(sums.shape[1]):
                rates.cells[row, h, part, label] = (
                    old * rates.cells[row, h, part, label] + new * sums[part, label]
                )
    rates.at_ms[row] = max(at_ms, rates.at_ms[row])


@compiled
def read_rates(
    keys: Keys,
    rates: Rates,
    row_keys: Words,
    at_ms: int,
    half_lives_ms: NDArray[np.float64],
    own: Cells,
    everything: Cells,
) -> None:
    """Read what is known at a time of a row's keys, added up, and of everything.

    Args:
        keys: The table.
        rates: Its rows.
        row_keys: (K,), NO_KEY where missing.
        at_ms: The time.
        half_lives_ms: (H,).
        own: (H, 2, L) to write to.
        everything: (H, 2, L) to write to.
    """
    own[:] = 0
    everything[:] = 0
    for key in row_keys:
        row = find(keys, key) if key != NO_KEY else NONE
        if row != NONE:
            _read(rates, row + 1, at_ms, half_lives_ms, own)
    _read(rates, 0, at_ms, half_lives_ms, everything)


@compiled
def _read(rates: Rates, row: int, at_ms: int, half_lives_ms: NDArray[np.float64], into: Cells) -> None:
    elapsed_ms = max(at_ms - rates.at_ms[row], 0)
    for h in range(len(half_lives_ms)):
        share = np.float32(math.exp(-LN_2 * elapsed_ms / half_lives_ms[h]))
        for part in range(2):
            for label in range(into.shape[2]):
                into[h, part, label] += share * rates.cells[row, h, part, label]


@compiled
def _sums(labels: Cells, wait_of_label: NDArray[np.int64], wait: int, sums: Cells) -> None:
    """Write labels, (L,), and 1 for each, into (2, L): 0 and 0 for those that are missing or wait otherwise."""
    for label in range(len(labels)):
        there = wait_of_label[label] == wait and not math.isnan(labels[label])
        sums[0, label] = labels[label] if there else 0
        sums[1, label] = 1 if there else 0


@compiled
def replay_rates(
    keys: Keys,
    rates: Rates,
    log_keys: Words,
    log_ms: Times,
    log_labels: Cells,
    first: int,
    wait_of_label: NDArray[np.int64],
    applied: NDArray[np.int64],
    until: NDArray[np.int64],
    half_lives_ms: NDArray[np.float64],
    own: Cells,
    everything: Cells,
) -> None:
    """Read each row of a batch when its request was made, learning from earlier rows as they become known.

    Args:
        keys: The table.
        rates: Its rows.
        log_keys: (M, K) the rows that may still be applied, and the batch behind them.
        log_ms: (M,) when each was shown, in order.
        log_labels: (M, L).
        first: Where the batch begins in the log.
        wait_of_label: (L,) which of the waits is a label's.
        applied: (W,) how many rows of the log are known already under each wait.
        until: (R, W) how many are when each row's request is made.
        half_lives_ms: (H,).
        own: (R, H, 2, L) to write to.
        everything: (R, H, 2, L) to write to.
    """
    done = applied.copy()
    sums = np.empty((2, len(wait_of_label)), np.float32)
    for row in range(len(until)):
        for wait in range(until.shape[1]):
            for past in range(done[wait], until[row, wait]):
                _sums(log_labels[past], wait_of_label, wait, sums)
                learn_rates(keys, rates, log_keys[past], log_ms[past], sums, half_lives_ms)
            done[wait] = max(done[wait], until[row, wait])
        now = first + row
        read_rates(keys, rates, log_keys[now], log_ms[now], half_lives_ms, own[row], everything[row])


@compiled
def learn_rates_of(
    keys: Keys,
    rates: Rates,
    rows_keys: Words,
    rows_ms: Times,
    labels: Cells,
    half_lives_ms: NDArray[np.float64],
) -> None:
    """Add rows' labels, (R, K), (R,) and (R, L), whatever the waits."""
    no_wait = np.zeros(labels.shape[1], np.int64)
    sums = np.empty((2, labels.shape[1]), np.float32)
    for row in range(len(rows_keys)):
        _sums(labels[row], no_wait, 0, sums)
        learn_rates(keys, rates, rows_keys[row], rows_ms[row], sums, half_lives_ms)


@compiled
def read_rates_of(
    keys: Keys,
    rates: Rates,
    rows_keys: Words,
    rows_ms: Times,
    half_lives_ms: NDArray[np.float64],
    own: Cells,
    everything: Cells,
) -> None:
    """Read rows, (R, K) and (R,), into (R, H, 2, L)."""
    for row in range(len(rows_keys)):
        read_rates(keys, rates, rows_keys[row], rows_ms[row], half_lives_ms, own[row], everything[row])


@compiled
def write_ring(keys: Keys, rings: Rings, key: np.uint64, value: np.uint64, at_ms: int) -> None:
    """Add an entry in place of the key's oldest if there are N."""
    if key == NO_KEY:
        return
    row, fresh = use(keys, key)
    if fresh:
        rings.written[row] = 0
    spot = rings.written[row] % rings.times.shape[1]
    rings.values[row, spot] = value
    rings.times[row, spot] = at_ms
    rings.written[row] += 1


@compiled
def read_ring(keys: Keys, rings: Rings, key: np.uint64, values: Words, times: Times) -> None:
    """Write a key's entries into (N,) and (N,), the newest first, NO_KEY and NEVER where there are fewer."""
    values[:] = NO_KEY
    times[:] = NEVER
    row = find(keys, key) if key != NO_KEY else NONE
    if row == NONE:
        return
    length = rings.times.shape[1]
    for entry in range(min(rings.written[row], length)):
        spot = (rings.written[row] - 1 - entry) % length
        values[entry] = rings.values[row, spot]
        times[entry] = rings.times[row, spot]


@compiled
def replay_rings(
    keys: Keys,
    rings: Rings,
    log_keys: Words,
    log_values: Words,
    log_ms: Times,
    log_enters: NDArray[np.bool_],
    first: int,
    applied: int,
    until: NDArray[np.int64],
    values: Words,
    times: Times,
) -> None:
    """Read each row of a batch when its request was made, as `replay_rates` does.

    Args:
        keys: The table.
        rings: Its rows.
        log_keys: (M,).
        log_values: (M,).
        log_ms: (M,).
        log_enters: (M,) which rows become entries.
        first: Where the batch begins in the log.
        applied: How many rows of the log are known already.
        until: (R,) how many are when each row's request is made.
        values: (R, N) to write to.
        times: (R, N) to write to.
    """
    done = applied
    for row in range(len(until)):
        for past in range(done, until[row]):
            if log_enters[past]:
                write_ring(keys, rings, log_keys[past], log_values[past], log_ms[past])
        done = max(done, until[row])
        read_ring(keys, rings, log_keys[first + row], values[row], times[row])


@compiled
def write_rings(keys: Keys, rings: Rings, rows_keys: Words, rows_values: Words, rows_ms: Times) -> None:
    """Add entries, (R,) each."""
    for row in range(len(rows_keys)):
        write_ring(keys, rings, rows_keys[row], rows_values[row], rows_ms[row])


@compiled
def read_rings(keys: Keys, rings: Rings, rows_keys: Words, values: Words, times: Times) -> None:
    """Read rows, (R,), into (R, N) and (R, N)."""
    for row in range(len(rows_keys)):
        read_ring(keys, rings, rows_keys[row], values[row], times[row])


@compiled
def see(keys: Keys, seen_ms: Times, row_keys: Words, at_ms: int) -> None:
    """Note when a row's keys, (K,), were seen."""
    for key in row_keys:
        if key != NO_KEY:
            row, fresh = use(keys, key)
            seen_ms[row] = at_ms if fresh else max(at_ms, seen_ms[row])


@compiled
def last_seen(keys: Keys, seen_ms: Times, row_keys: Words) -> int:
    """When any of a row's keys, (K,), was last seen, NEVER if none was."""
    latest = NEVER
    for key in row_keys:
        row = find(keys, key) if key != NO_KEY else NONE
        if row != NONE:
            latest = max(latest, seen_ms[row])
    return latest


@compiled
def replay_sightings(
    keys: Keys,
    seen_ms: Times,
    log_keys: Words,
    log_ms: Times,
    first: int,
    applied: int,
    until: NDArray[np.int64],
    latest_ms: Times,
) -> None:
    """Read each row of a batch when its request was made, as `replay_rates` does, into (R,)."""
    done = applied
    for row in range(len(until)):
        for past in range(done, until[row]):
            see(keys, seen_ms, log_keys[past], log_ms[past])
        done = max(done, until[row])
        latest_ms[row] = last_seen(keys, seen_ms, log_keys[first + row])


@compiled
def see_all(keys: Keys, seen_ms: Times, rows_keys: Words, rows_ms: Times) -> None:
    """Note when the keys of rows, (R, K), were seen."""
    for row in range(len(rows_keys)):
        see(keys, seen_ms, rows_keys[row], rows_ms[row])


@compiled
def last_seen_of(keys: Keys, seen_ms: Times, rows_keys: Words, latest_ms: Times) -> None:
    """Read rows, (R, K), into (R,)."""
    for row in range(len(rows_keys)):
        latest_ms[row] = last_seen(keys, seen_ms, rows_keys[row])
