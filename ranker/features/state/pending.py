"""Rows whose feedback is not known yet, in the order in which they were shown.

Shape letters: M rows that are kept.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]


class Pending:
    """Columns that rows are added to at the end and taken from at the beginning.

    Rows are numbered in the order in which they are added.

    Args:
        first: The number of the first row: how many waited before.

    Attributes:
        first: The number of the oldest row that is kept.
    """

    def __init__(self, first: int = 0) -> None:
        self.first = first
        self._columns: dict[str, NDArray[Any]] = {}
        self._begin = 0
        self._end = 0

    @property
    def next(self) -> int:
        """The number of the next row that is added."""
        return self.first + len(self)

    def __len__(self) -> int:
        return self._end - self._begin

    def __getitem__(self, name: str) -> NDArray[Any]:
        """(M, ...) a column."""
        return self._columns[name][self._begin : self._end]

    def part(self, prefix: str, rows: slice) -> dict[str, NDArray[Any]]:
        """Some rows of the columns whose names begin so."""
        return {name: self[name][rows] for name in self._columns if name.startswith(prefix)}

    def append(self, rows: Columns) -> None:
        """Add rows; their columns are the same every time."""
        count = len(next(iter(rows.values())))
        if not self._columns:
            self._columns = {name: column[:0] for name, column in rows.items()}
        if self._end + count > len(next(iter(self._columns.values()))):
            self._move(2 * (len(self) + count))
        for name, column in rows.items():
            self._columns[name][self._end : self._end + count] = column
        self._end += count

    def drop(self, count: int) -> None:
        """Take so many of the oldest rows away."""
        self._begin += count
        self.first += count

    def take_back(self, appended: int, dropped: int) -> None:
        """Undo the latest `append`, of so many rows, and what was dropped since."""
        self._begin -= dropped
        self.first -= dropped
        self._end -= appended

    def holds(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some rows, by their numbers, are kept."""
        kept: NDArray[np.bool_] = (numbers >= self.first) & (numbers < self.next)
        return kept

    def state(self) -> dict[str, NDArray[Any]]:
        """The columns, for a checkpoint or a bundle; none if there are no rows."""
        return {name: self[name].copy() for name in self._columns} if len(self) else {}

    def load(self, rows: Columns) -> None:
        """Hold these rows instead."""
        self._columns = {name: column.copy() for name, column in rows.items()}
        self._begin, self._end = 0, len(next(iter(rows.values()), ()))

    def _move(self, room: int) -> None:
        """Bring the rows to the beginning of larger columns."""
        for name, column in self._columns.items():
            larger = np.empty((room, *column.shape[1:]), column.dtype)
            larger[: len(self)] = self[name]
            self._columns[name] = larger
        self._begin, self._end = 0, len(self)
