"""What every feature of the state can do.

Shape letters: R rows, M rows of the log that may still be applied, F labels.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranker.features.key_loops import Times
from ranker.features.key_table import Arrays, KeyTable
from ranker.features.record import RecordLayout, Words
from ranker.features.state.reading import Floats, Reading
from ranker.features.state.row_keys import RowKeys

SHOWN: Final = 0.0
"""Seconds after an impression at which it is known that it was shown."""


@dataclass(frozen=True)
class Replay:
    """A batch of a log with the rows before it whose feedback was not known yet.

    Attributes:
        columns: (M, ...) what trackers made of the rows, by their names; the batch is at the end.
        times: (M,) int64 when each row was shown.
        labels: (M, F) float32 as the network learns them, NaN where missing.
        first: Where the batch begins.
        applied: For each wait in seconds, how many rows are known already.
        until: For each wait, (R,) how many are when each row's request is made.
        reversible: Whether it may be taken back.
    """

    columns: Mapping[str, NDArray[Any]]
    times: Times
    labels: Floats
    first: int
    applied: Mapping[float, int]
    until: Mapping[float, NDArray[np.int64]]
    reversible: bool


class Tracker(ABC):
    """The state of one feature: what is known of keys, bounded in number.

    Args:
        name: The feature's name.
        capacity: Keys that are kept.
        words: Words of 64 bits that are known of each.
    """

    def __init__(self, name: str, capacity: int, words: int) -> None:
        self.name = name
        self.table = KeyTable(capacity, words)

    @property
    @abstractmethod
    def waits(self) -> frozenset[float]:
        """How long after an impression the feature learns from it, in seconds; several if labels differ."""

    @abstractmethod
    def columns(self, words: Words, records: RecordLayout) -> Arrays:
        """What learning and replaying need of records: (R, ...) arrays, each called `NAME/...`."""

    @abstractmethod
    def replay(self, log: Replay, reading: Reading) -> None:
        """Read each row of a batch as of its time, learning from earlier rows as they become known.

        Args:
            log: The batch and what came before.
            reading: To write to; what other features are drawn towards is written before them.
        """

    @abstractmethod
    def look_up(self, words: Words, records: RecordLayout, times: Times, reading: Reading) -> None:
        """Read rows as of these times, and change nothing.

        Args:
            words: (R, W).
            records: Where the columns stand in them.
            times: (R,).
            reading: As of `replay`.
        """

    @abstractmethod
    def observe(self, columns: Arrays, times: Times) -> None:
        """Take in what was shown at these times, (R,), in order."""

    @abstractmethod
    def learn(self, columns: Arrays, times: Times, labels: Floats) -> None:
        """Take in the feedback, (R, F), on what was shown at these times."""

    @property
    @abstractmethod
    def column_types(self) -> Mapping[str, type[np.generic]]:
        """The types of what `columns` gives, by its names."""

    @abstractmethod
    def forget(self, gone: Arrays) -> None:
        """Know nothing of some keys any more.

        Args:
            gone: For each name of `columns` the keys to be forgotten, (K,).
        """

    def take_back(self) -> None:
        """Let everything be as it was before the latest reversible `replay`; nothing has changed since."""
        self.table.take_back()

    def state(self) -> Arrays:
        """The keys and what is known of them, the least recently used first."""
        rows = self.table.by_recency()
        return {"keys": self.table.keys(rows), "known": self.table.known(rows)}

    def load(self, state: Arrays) -> None:
        """Go on from a saved state."""
        self.table.load(state["keys"], state["known"])


class KeyedTracker(Tracker):
    """The state of a feature that is counted by keys of rows.

    Args:
        name: The feature's name.
        keys: Reads the keys of rows.
        capacity: Keys that are kept.
        words: Words of 64 bits that are known of each.
    """

    def __init__(self, name: str, keys: RowKeys, capacity: int, words: int) -> None:
        super().__init__(name, capacity, words)
        self._keys = keys

    def columns(self, words: Words, records: RecordLayout) -> Arrays:
        """The keys, (R, K)."""
        return {f"{self.name}/keys": self._keys(words, records)}

    def forget(self, gone: Arrays) -> None:
        """See `Tracker`."""
        self.table.remove(gone[f"{self.name}/keys"])

    @property
    def column_types(self) -> Mapping[str, type[np.generic]]:
        """See `Tracker`."""
        return {f"{self.name}/keys": np.uint64}
