"""Decayed, smoothed rates of labels by key.

Shape letters: R rows, K keys of a row, L labels, H half-lives.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ranker.features.key_loops import KNOWN, Times
from ranker.features.kinds.learned import RateFeature
from ranker.features.layout import KeyPart
from ranker.features.record import RecordLayout, Words
from ranker.features.state.known import Place, Reading
from ranker.features.state.rate_loops import (
    Cells,
    Prior,
    RateLog,
    Rates,
    learn_rates_of,
    read_rates,
    replay_rates,
)
from ranker.features.state.row_keys import RowKeys
from ranker.features.state.tracker import Arrays, Replay, Tracker
from ranker.labels.label import Label


class RateTracker(Tracker):
    """The state of a `rate` feature.

    Args:
        feature: The feature.
        parts: The features that its key combines.
        labels: All of the spec's.
        toward: The rate that is the prior; None for the rates of everything.
    """

    def __init__(
        self,
        feature: RateFeature,
        parts: Sequence[KeyPart],
        labels: Sequence[Label],
        toward: "RateTracker | None" = None,
    ) -> None:
        words = 1 + len(feature.half_lives) * len(feature.labels)
        super().__init__(feature.name, feature.capacity, words)
        self._keys = RowKeys(parts)
        names = [label.name for label in labels]
        self._labels = np.array([names.index(name) for name in feature.labels])
        counted = [labels[place] for place in self._labels]
        self._waits = [label.label_wait for label in counted]
        binary = np.array([label.is_probability for label in counted])
        self._feature = feature
        self._toward = toward
        self._toward_columns = _columns(feature, feature if toward is None else toward._feature)
        self._half_lives_ms = np.array(feature.half_lives, np.float64) * 1000
        self._binary = binary.astype(np.float32)
        strength = feature.strength
        strengths = [strength[name] if isinstance(strength, dict) else strength for name in feature.labels]
        self._strength = np.array(strengths, np.float32)
        self._everything = np.zeros((1, KNOWN + words), np.int64)

    @property
    def waits(self) -> frozenset[float]:
        """Those of its labels."""
        return frozenset(self._waits)

    def columns(self, words: Words, records: RecordLayout) -> Arrays:
        """The keys, (R, K)."""
        return {f"{self.name}/keys": self._keys(words, records)}

    def replay(self, log: Replay, reading: Reading) -> None:
        """See `Tracker`."""
        waits = sorted(self.waits)
        keys = log.columns[f"{self.name}/keys"]
        until = np.stack([log.until[wait] for wait in waits], axis=1)
        applied = np.array([log.applied[wait] for wait in waits])
        self.table.reserve(int((until[-1] - applied).sum()) * keys.shape[1])
        place = reading.places[self.name]
        wait_of_label = np.array([waits.index(wait) for wait in self._waits])
        rows = RateLog(keys, log.times, log.labels, log.first, wait_of_label, applied, until)
        replay_rates(self._rates(), rows, self._prior(reading), place.numbers, place.first)

    def look_up(self, words: Words, records: RecordLayout, times: Times, reading: Reading) -> None:
        """See `Tracker`."""
        if self._toward is not None and self._toward.name not in reading.places:
            reading.places[self._toward.name] = self._toward._apart(words, records, times)
        keys, place = self._keys(words, records), reading.places[self.name]
        read_rates(self._rates(), keys, times, self._prior(reading), place.numbers, place.first)

    def observe(self, columns: Arrays, times: Times) -> None:
        """Nothing: a rate counts rows with a label."""

    def learn(self, columns: Arrays, times: Times, labels: Cells) -> None:
        """See `Tracker`."""
        keys = columns[f"{self.name}/keys"]
        self.table.reserve(keys.size)
        learn_rates_of(self._rates(), keys, times, labels)

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

    def _apart(self, words: Words, records: RecordLayout, times: Times) -> Place:
        """Numbers for rows of another group, read once for those one after the other that have the same."""
        keys = self._keys(words, records)
        begins = np.ones(len(times), np.bool_)
        begins[1:] = (times[1:] != times[:-1]) | (keys[1:] != keys[:-1]).any(axis=1)
        numbers = np.empty((np.count_nonzero(begins), self._toward_columns.max() + 2), np.float32)
        read_rates(self._rates(), keys[begins], times[begins], self._prior(Reading({})), numbers, 0)
        return Place(numbers, 0, begins.cumsum() - 1)

    def _prior(self, reading: Reading) -> Prior:
        """What its rates are drawn towards; nothing for the rates of everything."""
        if self._toward is None:
            return Prior(np.empty((0, 0), np.float32), np.empty(0, np.int64), self._toward_columns)
        place = reading.places[self._toward.name]
        return Prior(place.numbers, place.rows, self._toward_columns + place.first)


def _columns(feature: RateFeature, of: RateFeature) -> NDArray[np.int64]:
    """(H, L) where the rates of a feature's half-lives and labels stand among another one's numbers."""
    half_lives = [of.half_lives.index(half_life) for half_life in feature.half_lives]
    labels = [of.labels.index(name) for name in feature.labels]
    columns: NDArray[np.int64] = np.add.outer(np.array(half_lives) * (len(of.labels) + 1), np.array(labels))
    return columns
