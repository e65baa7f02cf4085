"""How much one row can do: labels and example weights beyond what is plausible count as its bound.

A label of a regression task is plausible within the task's `plausible` range, an example weight up to the
spec's `max_weight`. Without these, both are plausible up to a multiple of a high quantile of those that are
not 0, which follows the stream; labels up to `MAX_LABEL` at most.

Shape letters: B rows, T tasks, K columns: the tasks and the weight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranker.events import WEIGHT
from ranker.labels.label import Task
from training.magnitudes import MagnitudeCounts

QUANTILE: Final = 0.9
LABEL_FACTOR: Final = 20.0
WEIGHT_FACTOR: Final = 100.0
"""Plausible up to so many times the quantile of the magnitudes that are not 0."""
MAX_LABEL: Final = 1e12
"""The most that a label is learned as where the stream says what is plausible: its square, summed over a
batch, is a finite float32, so that no label can end a run."""

Floats = NDArray[np.float64]


class Implausible(NamedTuple):
    """What was beyond the bounds of a column.

    Attributes:
        rows: How many values.
        furthest: The one that was furthest beyond.
        plausible: The least and the greatest plausible value now.
    """

    rows: int
    furthest: float
    plausible: tuple[float, float]


@dataclass(frozen=True)
class PlausibleRows:
    """The rows of a batch as they are learned from.

    Attributes:
        labels: (B, T) in natural units, NaN where missing.
        weights: (B,) of the examples; None for 1 each.
        beyond: (K,) int64, how many were beyond their bounds.
        furthest: (K,) the value that was furthest beyond; 0 for none.
        magnitudes: The counts with this batch.
    """

    labels: NDArray[np.float32]
    weights: NDArray[np.float32] | None
    beyond: NDArray[np.int64]
    furthest: Floats
    magnitudes: MagnitudeCounts


class Plausibility:
    """Bounds labels and weights, and counts those that were beyond.

    Args:
        tasks: In the order of the columns.
        max_weight: The largest plausible weight; None to follow the stream.

    Attributes:
        names: Of the columns.
        beyond: (K,) int64, how many values were beyond their bounds so far.
        furthest: (K,) the value that was furthest beyond; 0 for none.
    """

    def __init__(self, tasks: Sequence[Task], max_weight: float | None) -> None:
        self.names = (*(task.name for task in tasks), WEIGHT)
        given = [*(task.plausible_range for task in tasks), None if max_weight is None else (0.0, max_weight)]
        self._given = np.array([bounds or (np.nan, np.nan) for bounds in given]).T  # (2, K)
        self._least = np.array([*(task.value_range[0] for task in tasks), 0.0])
        self._factor = np.array([*(LABEL_FACTOR for _ in tasks), WEIGHT_FACTOR])
        self._most = np.array([*(MAX_LABEL for _ in tasks), np.inf])
        self._magnitudes = MagnitudeCounts.of_none(len(given))
        self.beyond = np.zeros(len(given), np.int64)
        self.furthest = np.zeros(len(given))

    def read(self, labels: NDArray[np.float32], weights: NDArray[np.float32] | None) -> PlausibleRows:
        """Bound the rows of a batch by what it and the earlier ones say; nothing changes until `take`.

        Args:
            labels: (B, T) in natural units, NaN where missing.
            weights: (B,) of the examples; None for 1 each. Infinite ones stay as they are.
        """
        weight = np.zeros(len(labels), np.float32) if weights is None else weights
        values = np.column_stack([labels, weight])
        magnitudes = self._magnitudes.with_rows(values)
        with np.errstate(over="ignore"):  # a bound that no float32 reaches is none
            low, high = self._bounds(magnitudes).astype(np.float32)
        beyond = ((values < low) | (values > high)) & ~np.isinf(values)
        bounded = np.where(beyond, np.clip(values, low, high), values)
        excess = np.where(beyond, values, 0)
        return PlausibleRows(
            labels=np.ascontiguousarray(bounded[:, :-1]),
            weights=None if weights is None else bounded[:, -1],
            beyond=np.count_nonzero(beyond, axis=0),
            furthest=np.take_along_axis(excess, np.abs(excess).argmax(axis=0)[None], axis=0)[0],
            magnitudes=magnitudes,
        )

    def take(self, rows: PlausibleRows) -> None:
        """Take in the rows of a batch that was learned from."""
        self._magnitudes = rows.magnitudes
        self.beyond = self.beyond + rows.beyond
        further = np.abs(rows.furthest) > np.abs(self.furthest)
        self.furthest = np.where(further, rows.furthest, self.furthest)

    def ranges(self) -> dict[str, tuple[float, float]]:
        """What is plausible now, by column; infinite where too little is known."""
        low, high = self._bounds(self._magnitudes).tolist()
        return dict(zip(self.names, zip(low, high, strict=True), strict=True))

    def found(self) -> dict[str, Implausible]:
        """What was beyond, by column; columns without such values are left out."""
        ranges = self.ranges()
        return {
            name: Implausible(int(count), float(furthest), ranges[name])
            for name, count, furthest in zip(self.names, self.beyond, self.furthest, strict=True)
            if count
        }

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Everything, for a checkpoint."""
        return {"magnitudes": self._magnitudes.counts, "beyond": self.beyond, "furthest": self.furthest}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state_dict` gave."""
        self._magnitudes = MagnitudeCounts(state["magnitudes"].copy())
        self.beyond, self.furthest = state["beyond"].copy(), state["furthest"].copy()

    def _bounds(self, magnitudes: MagnitudeCounts) -> Floats:
        """(2, K) the least and the greatest plausible value."""
        greatest = np.minimum(self._factor * magnitudes.quantile(QUANTILE), self._most)
        followed = [np.maximum(-greatest, self._least), greatest]
        return np.where(np.isnan(self._given), followed, self._given)
