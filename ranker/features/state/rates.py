"""Decayed, smoothed rates of labels by key.

Shape letters: R rows, K keys of a row, L labels, H half-lives, T tasks.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from ranker.features.layout import KeyPart
from ranker.features.record import RecordLayout, Words
from ranker.features.state import kernels
from ranker.features.state.kernels import Cells, Rates, Times
from ranker.features.state.row_keys import row_keys
from ranker.features.state.tracker import Arrays, Floats, Replay, Tracker, longer
from ranker.spec import Task
from ranker.state_spec import RateFeature

LEAST_RATE: Final = np.float32(1e-6)
"""Rates are cut here, and as much below 1, before their log-odds."""


class RateTracker(Tracker):
    """The state of a `rate` feature.

    Args:
        feature: The feature.
        parts: The features that its key combines.
        tasks: All of the spec's.
    """

    def __init__(self, feature: RateFeature, parts: Sequence[KeyPart], tasks: Sequence[Task]) -> None:
        super().__init__(feature.name, feature.capacity)
        self._parts = parts
        self._strength = np.float32(feature.strength)
        names = [task.name for task in tasks]
        self._labels = [names.index(label) for label in feature.labels]
        counted = [tasks[place] for place in self._labels]
        self._binary = np.array([task.kind == "binary" for task in counted])
        self._label_waits = [task.label_wait for task in counted]
        self._half_lives_ms = np.array(feature.half_lives, np.float64) * 1000
        shape = (self.table.room + 1, len(feature.half_lives), 2, len(counted))
        self._rates = Rates(np.zeros(shape, np.float32), np.zeros(shape[0], np.int64))

    @property
    def waits(self) -> frozenset[float]:
        """Those of its labels."""
        return frozenset(self._label_waits)

    def keys(self, words: Words, records: RecordLayout) -> Arrays:
        """The keys, (R, K)."""
        return {f"{self.name}/keys": row_keys(self._parts, words, records)}

    def replay(self, log: Replay) -> Arrays:
        """See `Tracker`; what is read is what `numbers` takes."""
        waits = sorted(self.waits)
        keys = log.columns[f"{self.name}/keys"]
        until = np.stack([log.until[wait] for wait in waits], axis=1)
        applied = np.array([log.applied[wait] for wait in waits])
        self._reserve(int((until[-1:] - applied).sum()) * keys.shape[1])
        own, everything = self._room_for(len(until))
        kernels.replay_rates(
            self.table.arrays,
            self._rates,
            keys,
            log.times,
            np.ascontiguousarray(log.labels[:, self._labels]),
            log.first,
            np.array([waits.index(wait) for wait in self._label_waits]),
            applied,
            until,
            self._half_lives_ms,
            own,
            everything,
        )
        return {"own": own, "everything": everything}

    def look_up(self, keys: Arrays, times: Times) -> Arrays:
        """See `Tracker`."""
        own, everything = self._room_for(len(times))
        kernels.read_rates_of(
            self.table.arrays,
            self._rates,
            keys[f"{self.name}/keys"],
            times,
            self._half_lives_ms,
            own,
            everything,
        )
        return {"own": own, "everything": everything}

    def observe(self, columns: Arrays, times: Times) -> None:
        """Nothing: a rate counts rows with a label."""

    def learn(self, columns: Arrays, times: Times, labels: Cells) -> None:
        """See `Tracker`."""
        keys = columns[f"{self.name}/keys"]
        self._reserve(keys.size)
        kernels.learn_rates_of(
            self.table.arrays,
            self._rates,
            keys,
            times,
            np.ascontiguousarray(labels[:, self._labels]),
            self._half_lives_ms,
        )

    def numbers(self, read: Arrays) -> Floats:
        """Rates and counts as the network takes them.

        Args:
            read: What `replay` or `look_up` returned.

        Returns:
            (R, H (L + 1)): for each half-life log-odds (of regression labels the mean) and log(1 + count) of
            the rows with the first label.
        """
        own, everything = read["own"], read["everything"]
        prior = (everything[:, :, 0] + np.float32(0.5) * self._binary) / (everything[:, :, 1] + 1)
        numbers = np.empty((*prior.shape[:2], prior.shape[2] + 1), np.float32)
        rate = (own[:, :, 0] + self._strength * prior) / (own[:, :, 1] + self._strength)
        odds = rate.clip(LEAST_RATE, 1 - LEAST_RATE)
        numbers[:, :, :-1] = np.where(self._binary, np.log(odds) - np.log1p(-odds), rate)
        np.log1p(own[:, :, 1, 0], out=numbers[:, :, -1])
        return numbers.reshape(len(numbers), -1)

    def state(self) -> Arrays:
        """See `Tracker`."""
        rows = self.table.by_recency()
        kept = np.concatenate([[0], rows + 1])
        return {
            "keys": self.table.arrays.keys[rows],
            "cells": self._rates.cells[kept],
            "at_ms": self._rates.at_ms[kept],
        }

    def load(self, state: Arrays) -> None:
        """See `Tracker`."""
        self.table.load(state["keys"])
        self._rates = Rates(
            longer(state["cells"], self.table.room + 1).copy(),
            longer(state["at_ms"], self.table.room + 1).copy(),
        )

    def _reserve(self, keys: int) -> None:
        self.table.reserve(keys)
        rows = self.table.room + 1
        self._rates = Rates(longer(self._rates.cells, rows), longer(self._rates.at_ms, rows))

    def _room_for(self, rows: int) -> tuple[Cells, Cells]:
        shape = (rows, *self._rates.cells.shape[1:])
        return np.empty(shape, np.float32), np.empty(shape, np.float32)
