"""Decayed, smoothed rates of labels by key.

Shape letters: R rows, K keys of a row, L labels, H half-lives.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ranker.features.key_loops import KNOWN, Times
from ranker.features.key_table import Arrays
from ranker.features.record import RecordLayout, Words
from ranker.features.state.rate_loops import (
    Cells,
    Prior,
    RateLog,
    Rates,
    learn_rates_of,
    read_rates,
    replay_rates,
)
from ranker.features.state.reading import NumberBlock, Reading
from ranker.features.state.row_keys import RowKeys
from ranker.features.state.tracker import KeyedTracker, Replay
from ranker.labels.label import Label


class RateTracker(KeyedTracker):
    """The state of a `rate` feature.

    Args:
        name: The feature's.
        keys: Reads the keys of rows.
        capacity: Keys that are kept.
        half_lives_s: H seconds after which a row counts half.
        labels: The L labels, each with its index among all of the spec's.
        prior_strength: (L,) how many rows the prior is worth.
        prior: The rate that is the prior; None for the rates of everything.
    """

    def __init__(
        self,
        name: str,
        keys: RowKeys,
        *,
        capacity: int,
        half_lives_s: Sequence[float],
        labels: Sequence[tuple[int, Label]],
        prior_strength: Sequence[float],
        prior: "RateTracker | None",
    ) -> None:
        words = 1 + len(half_lives_s) * len(labels)
        super().__init__(name, keys, capacity, words)
        self._half_lives_s = list(half_lives_s)
        self._label_names = [label.name for _, label in labels]
        self._labels = np.array([index for index, _ in labels])
        self._waits = [label.label_wait for _, label in labels]
        self._binary = np.array([label.is_probability for _, label in labels]).astype(np.float32)
        self._strength = np.array(prior_strength, np.float32)
        self._half_lives_ms = np.array(half_lives_s, np.float64) * 1000
        self._everything = np.zeros((1, KNOWN + words), np.int64)
        self._everything_before = self._everything
        self._prior = prior
        self._prior_columns = (prior or self)._columns(self._half_lives_s, self._label_names)

    @property
    def waits(self) -> frozenset[float]:
        """Those of its labels."""
        return frozenset(self._waits)

    def replay(self, log: Replay, reading: Reading) -> None:
        """See `Tracker`."""
        waits = sorted(self.waits)
        keys = log.columns[f"{self.name}/keys"]
        until = np.stack([log.until[wait] for wait in waits], axis=1)
        applied = np.array([log.applied[wait] for wait in waits])
        uses = int((until[-1] - applied).sum()) * keys.shape[1]
        self.table.reserve(uses)
        self.table.note(uses)
        self._everything_before = self._everything.copy()
        block = reading.numbers[self.name]
        wait_of_label = np.array([waits.index(wait) for wait in self._waits])
        rows = RateLog(keys, log.times, log.labels, log.first, wait_of_label, applied, until)
        replay_rates(self._rates(), rows, self._prior_of(reading), block.numbers, block.first)

    def look_up(self, words: Words, records: RecordLayout, times: Times, reading: Reading) -> None:
        """See `Tracker`."""
        if self._prior is not None and self._prior.name not in reading.numbers:
            reading.numbers[self._prior.name] = self._prior.read_apart(words, records, times)
        keys, block = self._keys(words, records), reading.numbers[self.name]
        read_rates(self._rates(), keys, times, self._prior_of(reading), block.numbers, block.first)

    def observe(self, columns: Arrays, times: Times) -> None:
        """Nothing: a rate counts rows with a label."""

    def learn(self, columns: Arrays, times: Times, labels: Cells) -> None:
        """See `Tracker`."""
        keys = columns[f"{self.name}/keys"]
        self.table.reserve(keys.size)
        learn_rates_of(self._rates(), keys, times, labels)

    def take_back(self) -> None:
        """See `Tracker`."""
        super().take_back()
        self._everything = self._everything_before

    def state(self) -> Arrays:
        """See `Tracker`; beside the keys, there is what is known of everything."""
        return {**super().state(), "everything": self._everything.copy()}

    def load(self, state: Arrays) -> None:
        """See `Tracker`."""
        super().load(state)
        self._everything = state["everything"].copy()

    def _rates(self) -> Rates:
        return Rates(
            self.table.arrays,
            self.table.arrays.rows.view(np.float32),
            self._everything,
            self._everything.view(np.float32),
            self._half_lives_ms,
            self._binary,
            self._strength,
            self._labels,
        )

    def read_apart(self, words: Words, records: RecordLayout, times: Times) -> NumberBlock:
        """Numbers for rows of another group, read once for those one after the other that have the same."""
        keys = self._keys(words, records)
        begins = np.ones(len(times), np.bool_)
        begins[1:] = (times[1:] != times[:-1]) | (keys[1:] != keys[:-1]).any(axis=1)
        width = len(self._half_lives_s) * (len(self._label_names) + 1)
        numbers = np.empty((np.count_nonzero(begins), width), np.float32)
        read_rates(self._rates(), keys[begins], times[begins], self._prior_of(Reading({})), numbers, 0)
        return NumberBlock(numbers, 0, begins.cumsum() - 1)

    def _prior_of(self, reading: Reading) -> Prior:
        """What its rates are drawn towards; nothing for the rates of everything."""
        if self._prior is None:
            return Prior(np.empty((0, 0), np.float32), np.empty(0, np.int64), self._prior_columns)
        block = reading.numbers[self._prior.name]
        return Prior(block.numbers, block.rows, self._prior_columns + block.first)

    def _columns(self, half_lives_s: Sequence[float], labels: Sequence[str]) -> NDArray[np.int64]:
        """(H, L) where the rates of some half-lives and labels stand among its numbers."""
        first = np.array([self._half_lives_s.index(s) for s in half_lives_s]) * (len(self._label_names) + 1)
        columns: NDArray[np.int64] = np.add.outer(first, [self._label_names.index(name) for name in labels])
        return columns
