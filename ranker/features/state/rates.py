"""Decayed, smoothed rates of labels by key.

Shape letters: R rows, K keys of a row, L labels, H half-lives.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ranker.features.layout import KeyPart
from ranker.features.record import RecordLayout, Words
from ranker.features.state import kernels
from ranker.features.state.kernels import KNOWN, LEAST_RATE, Cells, Rates, Times
from ranker.features.state.row_keys import row_keys
from ranker.features.state.tracker import Arrays, Floats, Replay, Tracker
from ranker.spec import Label
from ranker.state_spec import RateFeature


class RateTracker(Tracker):
    """The state of a `rate` feature.

    Args:
        feature: The feature.
        parts: The features that its key combines.
        labels: All of the spec's.
        toward: The rate that is the prior; None for the rates of everything.

    Attributes:
        names: Of its labels.
        half_lives: In seconds.
        is_prior: Whether it is the prior of another one.
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
        self._parts = parts
        names = [label.name for label in labels]
        self._labels = np.array([names.index(name) for name in feature.labels])
        counted = [labels[place] for place in self._labels]
        self._waits = [label.label_wait for label in counted]
        binary = np.array([label.kind == "binary" for label in counted])
        self.is_prior = False
        self.names: tuple[str, ...] = feature.labels
        self._toward = toward
        self.half_lives = feature.half_lives
        if toward is not None:
            toward.is_prior = True
            half_lives = [toward.half_lives.index(half_life) for half_life in feature.half_lives]
            self._of_toward = half_lives, [toward.names.index(name) for name in feature.labels]
        self._means = np.flatnonzero(~binary)
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

    def keys(self, words: Words, records: RecordLayout) -> Arrays:
        """The keys, (R, K), and those of the prior."""
        own = {f"{self.name}/keys": row_keys(self._parts, words, records)}
        return {**self._toward.keys(words, records), **own} if self._toward else own

    def columns(self, words: Words, records: RecordLayout) -> Arrays:
        """The keys, (R, K)."""
        return {f"{self.name}/keys": row_keys(self._parts, words, records)}

    def replay(self, log: Replay) -> Arrays:
        """See `Tracker`; what is read are rates and counts as the network takes them.

        They are (R, H (L + 1)) float32: for each half-life the log-odds of each label, of regression labels
        the mean, then log(1 + count) of the rows with the first label.
        """
        waits = sorted(self.waits)
        keys = log.columns[f"{self.name}/keys"]
        until = np.stack([log.until[wait] for wait in waits], axis=1)
        applied = np.array([log.applied[wait] for wait in waits])
        self.table.reserve(int((until[-1] - applied).sum()) * keys.shape[1])
        numbers = self._room_for(len(until))
        kernels.replay_rates(
            self._rates(),
            keys,
            log.times,
            log.labels,
            log.first,
            np.array([waits.index(wait) for wait in self._waits]),
            applied,
            until,
            self._priors(None if self._toward is None else log.read[self._toward.name]),
            numbers,
        )
        return self._logged(numbers)

    def look_up(self, keys: Arrays, times: Times, read: Mapping[str, Arrays]) -> Arrays:
        """See `Tracker`."""
        numbers = self._room_for(len(times))
        prior = None if self._toward is None else self._toward.read_once(keys, times, read)
        kernels.read_rates(self._rates(), keys[f"{self.name}/keys"], times, self._priors(prior), numbers)
        return self._logged(numbers)

    def read_once(self, keys: Arrays, times: Times, read: Mapping[str, Arrays]) -> Arrays:
        """The rates of `look_up`, read once for rows one after the other with the same keys and time."""
        if self.name in read:
            return read[self.name]
        own = keys[f"{self.name}/keys"]
        begins = np.ones(len(times), np.bool_)
        begins[1:] = (times[1:] != times[:-1]) | (own[1:] != own[:-1]).any(axis=1)
        once = self.look_up({**keys, f"{self.name}/keys": own[begins]}, times[begins], {})
        return {"rates": once["rates"][begins.cumsum() - 1]}

    def observe(self, columns: Arrays, times: Times) -> None:
        """Nothing: a rate counts rows with a label."""

    def learn(self, columns: Arrays, times: Times, labels: Cells) -> None:
        """See `Tracker`."""
        keys = columns[f"{self.name}/keys"]
        self.table.reserve(keys.size)
        kernels.learn_rates_of(self._rates(), keys, times, labels)

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

    def _room_for(self, rows: int) -> Floats:
        return np.empty((rows, len(self._half_lives_ms), len(self._labels) + 1), np.float32)

    def _priors(self, read: Arrays | None) -> Floats:
        """(R, H, L) what each row's rates are drawn towards; no rows for the rates of everything."""
        if read is None:
            return np.empty((0, len(self._half_lives_ms), len(self._labels)), np.float32)
        half_lives, labels = self._of_toward
        return read["rates"].take(half_lives, axis=1).take(labels, axis=2)

    def _logged(self, numbers: Floats) -> Arrays:
        """The numbers for the network, and the rates that they are made of, (R, H, L)."""
        odds = numbers[:, :, :-1] if self.is_prior else numbers[:0, :, :-1]
        rates = np.where(self._binary > 0, (odds / (1 + odds)).clip(LEAST_RATE, 1 - LEAST_RATE), odds)
        means = numbers[:, :, self._means]
        with np.errstate(divide="ignore", invalid="ignore"):  # of what is no odds, and put back
            np.log(numbers, out=numbers)
        numbers[:, :, self._means] = means
        return {"numbers": numbers.reshape(len(numbers), numbers.shape[1] * numbers.shape[2]), "rates": rates}
