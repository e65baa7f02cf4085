"""The compiled part of the state, all of it: tables of keys, rates, histories, sightings and rows of ids.

It is one file because compiled code that is kept is made anew when its own file changes, not when another
one that it calls does. The callers see to it that there is room for what is written.

What is known of a key stands in one row, beside the key: memory is slower than arithmetic here.

Shape letters: C rows of a table that there is room for, S slots, at least 2 C; P words known of a key; R rows
of a batch, M rows of the log that may still be applied, K keys of a row, F labels of the log, L of a feature,
H half-lives, W waits, N entries of a history.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranker.compiled import compiled

Words = NDArray[np.uint64]
Times = NDArray[np.int64]
Cells = NDArray[np.float32]
Ages = NDArray[np.float64]

NONE: Final = -1
"""In place of a row: there is none."""
NO_KEY: Final = np.uint64(0)
"""In place of a key: the value is missing."""
FREE: Final = np.uint64(0)
"""In place of a slot's row and its part of the key."""
LATELY: Final = 128
"""How many rows that were read lately are kept in mind."""
HALF: Final = np.uint64(32)
LOWER: Final = np.uint64(2**32 - 1)
ONE: Final = np.uint64(1)

KEY: Final = 0
LAST_USE: Final = 1
KNOWN: Final = 2
"""Words of a row: its key, the table's clock when it was last used, and from here on what is known."""
SINCE: Final = KNOWN
"""Of rates, the time to which the sums are decayed; of sightings, the last one; of a history, how many
entries were written in all."""
SUMS: Final = 2 * (SINCE + 1)
"""Where a row's sums begin, in float32, of which a word holds two."""
ENTRIES: Final = SINCE + 1
"""Where a history's entries begin: value, time, value, time and so on."""
OWN: Final = KNOWN
SEEN: Final = KNOWN + 1
"""Of an id with a row of its own, the row, 0 before there is one, and when the id was last seen."""
SIGHTINGS: Final = KNOWN
"""Of an id without one, how often it was seen."""

USED: Final = 0
MOST: Final = 1
CLOCK: Final = 2
NEXT: Final = 3
SORTED: Final = 4
SORTED_AT: Final = 5
COUNTS: Final = 6
"""How many counts a table has, each at one of the places above."""

FIRST_OWN: Final = 2
"""The first row that belongs to one id alone: behind those of missing ids and of ids without a row."""

LN_2: Final = math.log(2.0)
LEAST_RATE: Final = np.float32(1e-6)
"""The prior of a binary label is cut here, and as much below 1, so that its odds are finite."""


class Keys(NamedTuple):
    """Rows for keys: a hash table with linear probing (keys are hashes already).

    Attributes:
        slots: (S,) uint64, FREE or the upper half of a key above 1 + its row.
        rows: (C, 2 + P) int64, see KEY, LAST_USE and KNOWN.
        oldest: (C,) int32, the first SORTED are rows by their last use as of clock SORTED_AT; those before
            NEXT were forgotten or used again.
        counts: (COUNTS,) int64: rows used, rows that may be, the clock, and the three above.
    """

    slots: Words
    rows: Times
    oldest: NDArray[np.int32]
    counts: Times


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


@compiled
def find(keys: Keys, key: np.uint64) -> int:
    """The row of a key, NONE if it has none."""
    mask = np.uint64(len(keys.slots) - 1)
    slot = key & mask
    while True:
        entry = keys.slots[slot]
        if entry == FREE:
            return NONE
        if (entry ^ key) >> HALF == FREE:
            row = int(entry & LOWER) - 1
            if keys.rows[row, KEY] == np.int64(key):
                return row
        slot = (slot + ONE) & mask


@compiled
def use(keys: Keys, key: np.uint64) -> tuple[int, bool]:
    """The row of a key, which becomes the most recently used, and whether the row is new to it."""
    row = find(keys, key)
    fresh = row == NONE
    if fresh:
        if keys.counts[USED] < keys.counts[MOST]:
            row = keys.counts[USED]
            keys.counts[USED] += 1
        else:
            row = _least_recently_used(keys)
            _free_slot(keys, np.uint64(keys.rows[row, KEY]))
        keys.rows[row, KEY] = np.int64(key)
        place(keys, row)
    keys.rows[row, LAST_USE] = keys.counts[CLOCK]
    keys.counts[CLOCK] += 1
    return row, fresh


@compiled
def place(keys: Keys, row: int) -> None:
    """Give a row's key a slot."""
    key, mask = np.uint64(keys.rows[row, KEY]), np.uint64(len(keys.slots) - 1)
    slot = key & mask
    while keys.slots[slot] != FREE:
        slot = (slot + ONE) & mask
    keys.slots[slot] = (key >> HALF << HALF) | np.uint64(row + 1)


@compiled
def place_all(keys: Keys) -> None:
    """Give the keys of all used rows a slot."""
    for row in range(keys.counts[USED]):
        place(keys, row)


@compiled
def _least_recently_used(keys: Keys) -> int:
    """Sort all rows by their last use now and then, and take the first that was not used since."""
    while True:
        if keys.counts[NEXT] == keys.counts[SORTED]:
            used = keys.counts[USED]
            keys.oldest[:used] = np.argsort(keys.rows[:used, LAST_USE])
            keys.counts[NEXT] = 0
            keys.counts[SORTED] = used
            keys.counts[SORTED_AT] = keys.counts[CLOCK]
        row = int(keys.oldest[keys.counts[NEXT]])
        keys.counts[NEXT] += 1
        if keys.rows[row, LAST_USE] < keys.counts[SORTED_AT]:
            return row


@compiled
def _free_slot(keys: Keys, key: np.uint64) -> None:
    """Take a key out, and move those behind it up, so that none is cut off from where its search begins.

    Source: Knuth, The Art of Computer Programming 3, 6.4, algorithm R.
    """
    mask = np.uint64(len(keys.slots) - 1)
    hole = key & mask
    while np.uint64(keys.rows[np.int64(keys.slots[hole] & LOWER) - 1, KEY]) != key:
        hole = (hole + ONE) & mask
    slot = hole
    while True:
        slot = (slot + ONE) & mask
        entry = keys.slots[slot]
        if entry == FREE:
            break
        home = np.uint64(keys.rows[np.int64(entry & LOWER) - 1, KEY]) & mask
        if ((slot - home) & mask) >= ((slot - hole) & mask):
            keys.slots[hole] = entry
            hole = slot
    keys.slots[hole] = FREE


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
                rates.keys.rows[row, SINCE] = at_ms
            _add(rates.keys.rows, rates.cells, row, at_ms, sums, rates.half_lives_ms)
    _add(rates.everything, rates.all_cells, 0, at_ms, sums, rates.half_lives_ms)


@compiled
def _add(
    rows: Times, cells: Cells, row: int, at_ms: int, sums: Cells, half_lives_ms: NDArray[np.float64]
) -> None:
    elapsed_ms = at_ms - rows[row, SINCE]
    first = SUMS
    for half_life_ms in half_lives_ms:
        share = np.float32(math.exp(-LN_2 * abs(elapsed_ms) / half_life_ms))
        old, new = np.float32(1), share  # what is added is the older: it happens when waits differ
        if elapsed_ms >= 0:
            old, new = share, np.float32(1)
        for place in range(len(sums)):
            cells[row, first + place] = old * cells[row, first + place] + new * sums[place]
        first += len(sums)
    rows[row, SINCE] = max(at_ms, rows[row, SINCE])


@compiled
def _add_up(rates: Rates, found: NDArray[np.int64], row: int, at_ms: int, sums: Cells) -> None:
    """Add up what is known at a time of a row's keys.

    This and `_smooth` go without slices, and one by one: compiled together they take twice as long.

    Args:
        rates: The state.
        found: (R, K) where the keys of the batch stand in the table, NONE where they do not.
        row: The row of the batch.
        at_ms: The time.
        sums: (2 H L,) to write to.
    """
    sums[:] = 0
    width = len(sums) // len(rates.half_lives_ms)
    for place in range(found.shape[1]):
        key = found[row, place]
        if key != NONE:
            elapsed_ms = max(at_ms - rates.keys.rows[key, SINCE], 0)
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
                expected = min(max(expected, LEAST_RATE), 1 - LEAST_RATE)
            prior[h, label] = expected


@compiled
def _drawn_towards(rates: Rates, numbers: Cells, row: int, columns: NDArray[np.int64], prior: Cells) -> None:
    """Write the rates, (H, L), that a row of another feature's numbers, (R, N), has in these columns."""
    half_lives, labels = prior.shape
    for h in range(half_lives):
        for label in range(labels):
            read = numbers[row, columns[h, label]]
            if rates.binary[label]:
                read = min(max(read / (1 + read), LEAST_RATE), 1 - LEAST_RATE)
            prior[h, label] = read


@compiled
def _sums(rates: Rates, labels: Cells, wait_of_label: NDArray[np.int64], wait: int, sums: Cells) -> None:
    """Write its labels out of all, (F,), and 1 for each, into (2 L,): 0 if missing or of another wait."""
    count = len(rates.labels)
    for place in range(count):
        label = labels[rates.labels[place]]
        there = wait_of_label[place] == wait and not math.isnan(label)
        sums[place] = label if there else 0
        sums[count + place] = 1 if there else 0


@compiled
def replay_rates(
    rates: Rates,
    log_keys: Words,
    log_ms: Times,
    log_labels: Cells,
    first: int,
    wait_of_label: NDArray[np.int64],
    applied: NDArray[np.int64],
    until: NDArray[np.int64],
    toward: Cells,
    toward_rows: NDArray[np.int64],
    toward_columns: NDArray[np.int64],
    numbers: Cells,
    column: int,
) -> None:
    """Read each row of a batch when its request was made, learning from earlier rows as they become known.

    Args:
        rates: The state.
        log_keys: (M, K) the rows that may still be applied, and the batch behind them.
        log_ms: (M,) when each was shown, in order.
        log_labels: (M, F).
        first: Where the batch begins in the log.
        wait_of_label: (L,) which of the waits is a label's.
        applied: (W,) how many rows of the log are known already under each wait.
        until: (R, W) how many are when each row's request is made.
        toward: (D, ...) numbers of another feature, to whose rates each row's are drawn; no rows for the
            rates of everything.
        toward_rows: (R,) which of the D rows.
        toward_columns: (H, L) where those rates stand.
        numbers: (R, N) to write to, see `_smooth`.
        column: The first that is written.
    """
    done = applied.copy()
    half_lives, labels = toward_columns.shape
    learned, sums = np.empty(2 * labels, np.float32), np.empty(2 * half_lives * labels, np.float32)
    prior = np.empty((half_lives, labels), np.float32)
    found = np.empty((len(until), log_keys.shape[1]), np.int64)
    _priors(rates, prior)
    for row in range(len(until)):
        changed = False
        for wait in range(until.shape[1]):
            for past in range(done[wait], until[row, wait]):
                _sums(rates, log_labels[past], wait_of_label, wait, learned)
                learn_rates(rates, log_keys[past], log_ms[past], learned)
                changed = True
            done[wait] = max(done[wait], until[row, wait])
        if len(toward):
            _drawn_towards(rates, toward, toward_rows[row], toward_columns, prior)
        elif changed:
            _priors(rates, prior)
        for place in range(found.shape[1]):
            key = log_keys[first + row, place]
            found[row, place] = find(rates.keys, key) if key != NO_KEY else NONE
        _add_up(rates, found, row, log_ms[first + row], sums)
        _smooth(sums, prior, rates.binary, rates.strength, numbers, row, column)


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
    """Find keys, (R, K), and look at all that is kept of them: memory is far, and answers many at once.

    Returns:
        Nothing of meaning; but what nobody takes would not be compiled.
    """
    total = 0
    for row in range(rows_keys.shape[0]):
        for place in range(rows_keys.shape[1]):
            key = rows_keys[row, place]
            at = find(keys, key) if key != NO_KEY else NONE
            found[row, place] = at
            if at != NONE:
                for word in range(0, keys.rows.shape[1], 8):  # one of each line of the processor's cache
                    total += keys.rows[at, word]
    return total


@compiled
def read_rates(
    rates: Rates,
    rows_keys: Words,
    rows_ms: Times,
    toward: Cells,
    toward_rows: NDArray[np.int64],
    toward_columns: NDArray[np.int64],
    numbers: Cells,
    column: int,
) -> int:
    """Read rows, (R, K) and (R,); the others and what is returned are as of `replay_rates` and `_fetch`.

    Candidates of a request often have the same length or tags, or pairs with the viewer of which nothing is
    known: a row is copied from one that was read lately if all that it is made of is the same.
    """
    prior, sums = np.empty(toward_columns.shape, np.float32), np.empty(2 * toward_columns.size, np.float32)
    found: NDArray[np.int64] = np.empty(rows_keys.shape, np.int64)
    lately = np.full(LATELY, NONE)
    width = toward_columns.size + len(toward_columns)
    _priors(rates, prior)
    drawn = NONE
    fetched = _fetch(rates.keys, rows_keys, found)
    for row in range(len(rows_keys)):
        slot = found[row].sum() % LATELY
        like = lately[slot]
        lately[slot] = row
        same = like != NONE and rows_ms[like] == rows_ms[row]
        if len(toward):
            same = same and toward_rows[like] == toward_rows[row]
        for place in range(found.shape[1]):
            same = same and found[like, place] == found[row, place]
        if same:
            for place in range(column, column + width):
                numbers[row, place] = numbers[like, place]
            continue
        if len(toward) and toward_rows[row] != drawn:
            drawn = toward_rows[row]
            _drawn_towards(rates, toward, drawn, toward_columns, prior)
        _add_up(rates, found, row, rows_ms[row], sums)
        _smooth(sums, prior, rates.binary, rates.strength, numbers, row, column)
    return fetched


@compiled
def _write_entries(keys: Keys, key: np.uint64, values: Words, at_ms: int) -> None:
    """Add entries, (I,), to a history, each in place of its oldest if there is no room left."""
    if key == NO_KEY:
        return
    row, fresh = use(keys, key)
    written = 0 if fresh else keys.rows[row, SINCE]
    for value in values:
        if value != NO_KEY:
            spot = ENTRIES + 2 * (written % ((keys.rows.shape[1] - ENTRIES) // 2))
            keys.rows[row, spot] = np.int64(value)
            keys.rows[row, spot + 1] = at_ms
            written += 1
    keys.rows[row, SINCE] = written


@compiled
def _read_entries(keys: Keys, key: np.uint64, now_ms: int, values: Words, ages_s: Ages) -> None:
    """Write a key's entries into (N,) and (N,), the newest first, NO_KEY and NaN where there are fewer."""
    length, there = len(values), 0
    row = find(keys, key) if key != NO_KEY else NONE
    if row != NONE:
        written = keys.rows[row, SINCE]
        there = min(written, length)
        spot = written % length
        for entry in range(there):
            spot = (spot if spot else length) - 1
            values[entry] = np.uint64(keys.rows[row, ENTRIES + 2 * spot])
            ages_s[entry] = _age_s(keys.rows[row, ENTRIES + 2 * spot + 1], now_ms)
    values[there:] = NO_KEY
    ages_s[there:] = math.nan


@compiled
def _age_s(then_ms: int, now_ms: int) -> float:
    return max(now_ms - then_ms, 0) / 1000


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


@compiled
def _see(keys: Keys, row_keys: Words, at_ms: int) -> None:
    """Note when a row's keys, (K,), were seen."""
    for key in row_keys:
        if key != NO_KEY:
            row, fresh = use(keys, key)
            keys.rows[row, SINCE] = at_ms if fresh else max(at_ms, keys.rows[row, SINCE])


@compiled
def _last_seen_s(keys: Keys, row_keys: Words, now_ms: int) -> float:
    """How long ago any of a row's keys, (K,), was last seen, NaN if none was."""
    seen, latest_ms = False, 0
    for key in row_keys:
        row = find(keys, key) if key != NO_KEY else NONE
        if row != NONE:
            latest_ms = max(latest_ms, keys.rows[row, SINCE]) if seen else keys.rows[row, SINCE]
            seen = True
    return _age_s(latest_ms, now_ms) if seen else math.nan


@compiled
def replay_sightings(
    keys: Keys,
    log_keys: Words,
    log_ms: Times,
    first: int,
    applied: int,
    until: NDArray[np.int64],
    numbers: Cells,
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
def last_seen_of(keys: Keys, rows_keys: Words, rows_ms: Times, numbers: Cells, column: int) -> None:
    """Read rows, (R, K), as of (R,), into a column of (R, N)."""
    for row in range(len(rows_keys)):
        numbers[row, column] = _last_seen_s(keys, rows_keys[row], rows_ms[row])


@compiled
def find_ids(own: Keys, since_ms: int, ids: Words, found: NDArray[np.int64]) -> None:
    """Look up the rows of ids.

    Args:
        own: The ids that have a row, and when each was last seen.
        since_ms: Those last seen before have lost their row.
        ids: (R,), NO_KEY where missing.
        found: (R,) to write to: 0 where missing, 1 where an id has no row of its own.
    """
    for place in range(len(ids)):
        found[place] = 0
        if ids[place] != NO_KEY:
            row = find(own, ids[place])
            there = row != NONE and own.rows[row, SEEN] >= since_ms
            found[place] = own.rows[row, OWN] if there else 1


@compiled
def see_ids(
    own: Keys,
    waiting: Keys,
    rows_ids: Words,
    rows_ms: Times,
    admit: int,
    expire_ms: int,
    given: NDArray[np.int64],
) -> int:
    """Count the sightings of ids, and give a row to those that had enough.

    A row that expired stays with its id, out of use, until another one or the same one is given it.

    Args:
        own: The ids that have a row, and when each was last seen.
        waiting: The ids that have none, and how often each was seen.
        rows_ids: (R, K), NO_KEY where missing.
        rows_ms: (R,) when they were seen, in order.
        admit: Sightings that are enough.
        expire_ms: An id last seen longer ago than that has lost its row.
        given: (R K,) to write the rows to that were given out, in order.

    Returns:
        How many were.
    """
    count = 0
    for place in range(len(rows_ms)):
        for key in rows_ids[place]:
            if key == NO_KEY:
                continue
            row = find(own, key)
            lacks = row == NONE or own.rows[row, SEEN] < rows_ms[place] - expire_ms
            if lacks and not _admitted(waiting, key, admit):
                continue
            row, _ = use(own, key)
            own.rows[row, SEEN] = rows_ms[place]
            if lacks:
                if own.rows[row, OWN] == 0:  # the table has never used it; others have all rows before
                    own.rows[row, OWN] = FIRST_OWN + row
                given[count] = own.rows[row, OWN]
                count += 1
    return count


@compiled
def _admitted(waiting: Keys, key: np.uint64, admit: int) -> bool:
    """Whether an id's sightings are enough with this one; then they are counted from 0 again."""
    if admit == 1:
        return True
    row, fresh = use(waiting, key)
    sightings = 1 if fresh else waiting.rows[row, SIGHTINGS] + 1
    waiting.rows[row, SIGHTINGS] = sightings % admit
    return sightings >= admit
