"""The compiled loops of decayed rates.

Shape letters: C rows of the table, R rows of a batch, M rows of the log that may still be applied, K keys of
a row, F labels of the log, L of a feature, H half-lives, W waits, N numbers of a group.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranker.compiled import compiled
from ranker.features.key_loops import KNOWN, NO_KEY, NO_ROW, Keys, Times, Words, find, use

Cells = NDArray[np.float32]

DECAYED_TO: Final = KNOWN
"""The word with the time to which a row's sums are decayed."""
SUMS: Final = 2 * (DECAYED_TO + 1)
"""Where a row's sums begin, in float32, of which a word holds two."""
RECENT: Final = 128
"""How many rows that were read recently are kept in mind."""
LN_2: Final = math.log(2.0)
MIN_RATE: Final = np.float32(1e-6)
"""The prior of a binary label is cut here, and as much below 1, so that its odds are finite."""


class Rates(NamedTuple):
    """Decayed sums of labels by key, and of everything: for each half-life, L sums of labels and L of rows.

    Attributes:
        keys: The table.
        cells: (C, SUMS + 2 H L) float32, the same memory as its rows.
        everything: (1, 3 + H L) int64, a row like the table's.
        all_cells: (1, SUMS + 2 H L) float32, the same memory.
        half_lives_ms: (H,).
        binary: (L,) float32, 1 for binary labels, 0 for others.
        strength: (L,) float32 how many rows the prior is worth.
        labels: (L,) int64 where its labels stand among all F.
    """

    keys: Keys
    cells: Cells
    everything: Times
    all_cells: Cells
    half_lives_ms: NDArray[np.float64]
    binary: Cells
    strength: Cells
    labels: NDArray[np.int64]


class RateLog(NamedTuple):
    """A batch of a log behind the rows before it that may still be applied.

    Attributes:
        keys: (M, K), NO_KEY where missing.
        times_ms: (M,) when each row was shown, in order.
        labels: (M, F), NaN where missing.
        first: Index of the batch's first row.
        wait_of_label: (L,) which of the waits is a label's.
        applied: (W,) how many rows of the log are known already under each wait.
        until: (R, W) how many are when each row's request is made.
    """

    keys: Words
    times_ms: Times
    labels: Cells
    first: int
    wait_of_label: NDArray[np.int64]
    applied: NDArray[np.int64]
    until: NDArray[np.int64]


class Prior(NamedTuple):
    """What the rates of a batch are drawn towards.

    Attributes:
        numbers: (D, ...) numbers of another rate; no rows for the rates of everything.
        rows: (R,) which of the D rows is each row's.
        columns: (H, L) where the rates stand in the numbers.
    """

    numbers: Cells
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


@compiled
def learn_rates(rates: Rates, row_keys: Words, at_ms: int, sums: Cells) -> None:
    """Add one row's labels to all of its keys and to everything.

    Args:
        rates: The state.
        row_keys: (K,), NO_KEY where missing.
        at_ms: When the row was shown.
        sums: (2 L,) its labels, and 1 for each; 0 and 0 where missing.
    """
    for key in row_keys:
        if key != NO_KEY:
            row, fresh = use(rates.keys, key)
            if fresh:
                rates.cells[row, SUMS:] = 0
                rates.keys.rows[row, DECAYED_TO] = at_ms
            _add(rates.keys.rows, rates.cells, row, at_ms, sums, rates.half_lives_ms)
    _add(rates.everything, rates.all_cells, 0, at_ms, sums, rates.half_lives_ms)


@compiled
def _add(
    rows: Times, cells: Cells, row: int, at_ms: int, sums: Cells, half_lives_ms: NDArray[np.float64]
) -> None:
    elapsed_ms = at_ms - rows[row, DECAYED_TO]
    first = SUMS
    for half_life_ms in half_lives_ms:
        share = np.float32(math.exp(-LN_2 * abs(elapsed_ms) / half_life_ms))
        old, new = np.float32(1), share  # what is added is the older: it happens when waits differ
        if elapsed_ms >= 0:
            old, new = share, np.float32(1)
        for index in range(len(sums)):
            cells[row, first + index] = old * cells[row, first + index] + new * sums[index]
        first += len(sums)
    rows[row, DECAYED_TO] = max(at_ms, rows[row, DECAYED_TO])


@compiled
def _add_up(rates: Rates, found: NDArray[np.int64], row: int, at_ms: int, sums: Cells) -> None:
    """Add up what is known at a time of a row's keys.

    This and `_smooth` go without slices, and one by one: compiled together they take twice as long.

    Args:
        rates: The state.
        found: (R, K) where the keys of the batch stand in the table, NO_ROW where they do not.
        row: The row of the batch.
        at_ms: The time.
        sums: (2 H L,) to write to.
    """
    sums[:] = 0
    width = len(sums) // len(rates.half_lives_ms)
    for index in range(found.shape[1]):
        key = found[row, index]
        if key != NO_ROW:
            elapsed_ms = max(at_ms - rates.keys.rows[key, DECAYED_TO], 0)
            for h in range(len(rates.half_lives_ms)):
                share = np.float32(math.exp(-LN_2 * elapsed_ms / rates.half_lives_ms[h]))
                for cell in range(h * width, (h + 1) * width):
                    sums[cell] += share * rates.cells[key, SUMS + cell]


@compiled
def _smooth(
    sums: Cells, prior: Cells, binary: Cells, strength: Cells, numbers: Cells, row: int, column: int
) -> None:
    """Turn sums, (2 H L,), into what is read of a row.

    Args:
        sums: See `_add_up`.
        prior: (H, L) what the rates are drawn towards.
        binary: (L,) see `Rates`.
        strength: (L,) see `Rates`.
        numbers: (R, N) to write to: for each half-life the odds of a binary label, the mean of another one,
            then 1 + the rows with the first label.
        row: The row of the batch.
        column: The first that is written.
    """
    half_lives, labels = prior.shape
    for h in range(half_lives):
        first = column + h * (labels + 1)
        for label in range(labels):
            total, rows = sums[2 * h * labels + label], sums[(2 * h + 1) * labels + label]
            others = max(rows - binary[label] * total, np.float32(0))
            others += strength[label] * (1 - binary[label] * prior[h, label])
            numbers[row, first + label] = (total + strength[label] * prior[h, label]) / others
        numbers[row, first + labels] = 1 + sums[(2 * h + 1) * labels]


@compiled
def _priors(rates: Rates, prior: Cells) -> None:
    """Write the rates of everything, (H, L), as of the last row that was learned from."""
    half_lives, labels = prior.shape
    for h in range(half_lives):
        first = SUMS + 2 * h * labels
        for label in range(labels):
            total, rows = rates.all_cells[0, first + label], rates.all_cells[0, first + labels + label]
            binary = rates.binary[label]
            expected = (total + np.float32(0.5) * binary) / (rows + 1)
            if binary:
                expected = min(max(expected, MIN_RATE), 1 - MIN_RATE)
            prior[h, label] = expected


@compiled
def _drawn_towards(rates: Rates, numbers: Cells, row: int, columns: NDArray[np.int64], prior: Cells) -> None:
    """Write the rates, (H, L), that a row of another feature's numbers, (R, N), has in these columns."""
    half_lives, labels = prior.shape
    for h in range(half_lives):
        for label in range(labels):
            read = numbers[row, columns[h, label]]
            if rates.binary[label]:
                read = min(max(read / (1 + read), MIN_RATE), 1 - MIN_RATE)
            prior[h, label] = read


@compiled
def _sums(rates: Rates, labels: Cells, wait_of_label: NDArray[np.int64], wait: int, sums: Cells) -> None:
    """Write its labels out of all, (F,), and 1 for each, into (2 L,): 0 if missing or of another wait."""
    count = len(rates.labels)
    for index in range(count):
        label = labels[rates.labels[index]]
        there = wait_of_label[index] == wait and not math.isnan(label)
        sums[index] = label if there else 0
        sums[count + index] = 1 if there else 0


@compiled
def replay_rates(rates: Rates, log: RateLog, prior: Prior, numbers: Cells, column: int) -> None:
    """Read each row of a batch when its request was made, learning from earlier rows as they become known.

    Args:
        rates: The state.
        log: The batch, and what came before.
        prior: What the rates are drawn towards.
        numbers: (R, N) to write to, see `_smooth`.
        column: The first column that is written.
    """
    done = log.applied.copy()
    half_lives, labels = prior.columns.shape
    learned, sums = np.empty(2 * labels, np.float32), np.empty(2 * half_lives * labels, np.float32)
    expected = np.empty((half_lives, labels), np.float32)
    found = np.empty((len(log.until), log.keys.shape[1]), np.int64)
    _priors(rates, expected)
    for row in range(len(log.until)):
        changed = False
        for wait in range(log.until.shape[1]):
            for past in range(done[wait], log.until[row, wait]):
                _sums(rates, log.labels[past], log.wait_of_label, wait, learned)
                learn_rates(rates, log.keys[past], log.times_ms[past], learned)
                changed = True
            done[wait] = max(done[wait], log.until[row, wait])
        if len(prior.numbers):
            _drawn_towards(rates, prior.numbers, prior.rows[row], prior.columns, expected)
        elif changed:
            _priors(rates, expected)
        for index in range(found.shape[1]):
            key = log.keys[log.first + row, index]
            found[row, index] = find(rates.keys, key) if key != NO_KEY else NO_ROW
        _add_up(rates, found, row, log.times_ms[log.first + row], sums)
        _smooth(sums, expected, rates.binary, rates.strength, numbers, row, column)


@compiled
def learn_rates_of(rates: Rates, rows_keys: Words, rows_ms: Times, labels: Cells) -> None:
    """Add rows' labels, (R, K), (R,) and (R, F), whatever the waits."""
    no_wait = np.zeros(len(rates.labels), np.int64)
    learned = np.empty(2 * len(rates.labels), np.float32)
    for row in range(len(rows_keys)):
        _sums(rates, labels[row], no_wait, 0, learned)
        learn_rates(rates, rows_keys[row], rows_ms[row], learned)


@compiled
def _fetch(keys: Keys, rows_keys: Words, found: NDArray[np.int64]) -> int:
    """Find keys, (R, K), and touch all that is kept of them, so that memory is fetched ahead of its use.

    Returns:
        A checksum that callers ignore; it keeps LLVM from removing the loop.
    """
    total = 0
    for row in range(rows_keys.shape[0]):
        for index in range(rows_keys.shape[1]):
            key = rows_keys[row, index]
            at = find(keys, key) if key != NO_KEY else NO_ROW
            found[row, index] = at
            if at != NO_ROW:
                for word in range(0, keys.rows.shape[1], 8):  # one word of each cache line
                    total += keys.rows[at, word]
    return total


@compiled
def read_rates(
    rates: Rates, rows_keys: Words, rows_ms: Times, prior: Prior, numbers: Cells, column: int
) -> int:
    """Read rows, (R, K) and (R,); the others and what is returned are as of `replay_rates` and `_fetch`.

    Candidates of a request often have the same length or tags, or pairs with the viewer of which nothing is
    known: a row is copied from one that was read recently if all that it is made of is the same.
    """
    expected = np.empty(prior.columns.shape, np.float32)
    sums = np.empty(2 * prior.columns.size, np.float32)
    found: NDArray[np.int64] = np.empty(rows_keys.shape, np.int64)
    recent = np.full(RECENT, NO_ROW)
    width = prior.columns.size + len(prior.columns)
    _priors(rates, expected)
    drawn = NO_ROW
    fetched = _fetch(rates.keys, rows_keys, found)
    for row in range(len(rows_keys)):
        slot = found[row].sum() % RECENT
        like = recent[slot]
        recent[slot] = row
        same = like != NO_ROW and rows_ms[like] == rows_ms[row]
        if len(prior.numbers):
            same = same and prior.rows[like] == prior.rows[row]
        for index in range(found.shape[1]):
            same = same and found[like, index] == found[row, index]
        if same:
            for index in range(column, column + width):
                numbers[row, index] = numbers[like, index]
            continue
        if len(prior.numbers) and prior.rows[row] != drawn:
            drawn = prior.rows[row]
            _drawn_towards(rates, prior.numbers, drawn, prior.columns, expected)
        _add_up(rates, found, row, rows_ms[row], sums)
        _smooth(sums, expected, rates.binary, rates.strength, numbers, row, column)
    return fetched
