"""A running correction of the heads' means: what the exported heads are shifted by.

Every head lags behind when the base rate moves, and a head that learns a transformed label misses the mean.
One constant added to a head's output brings the mean of its predictions near that of its labels. It is
fitted to rows that were predicted before they were learned from, newer ones weighing more; the kind of the
label says which constant.

Shape letters: B rows, T tasks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranker.labels.label import Means, Task, alike

Floats = NDArray[np.float64]


class MeanCorrection:
    """Follows predictions and labels with decayed sums, and says which shift makes their means agree.

    Args:
        tasks: In the order of the columns.
        half_life_s: Event time after which a row counts half.
    """

    def __init__(self, tasks: Sequence[Task], half_life_s: float) -> None:
        self._groups = list(alike(tasks))
        self._half_life_ms = half_life_s * 1000
        self._sums = np.zeros((4, len(tasks)))  # in the order of the fields of Means
        self._time_ms = 0

    def update(
        self,
        predictions: Floats,
        labels: NDArray[np.float32],
        time_ms: int,
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        """Take in a batch.

        Args:
            predictions: (B, T) in natural units, made before learning from the batch.
            labels: (B, T) in natural units, NaN where missing.
            time_ms: Of its last row.
            weights: (B,) of the examples in the loss; None for 1 each.
        """
        known = (~np.isnan(labels)).astype(np.float64)
        weight = known if weights is None else known * weights[:, None]
        slope = np.empty_like(predictions)
        for task, columns in self._groups:
            slope[:, columns] = task.slope(predictions[:, columns])
        rows = np.stack([np.ones_like(predictions), np.nan_to_num(labels), predictions, slope])
        share = 0.5 ** (max(time_ms - self._time_ms, 0) / self._half_life_ms)
        self._sums = share * self._sums + (weight * rows).sum(axis=1)
        self._time_ms = max(time_ms, self._time_ms)

    def shifts(self) -> Floats:
        """(T,) what to add to each head's output; 0 for a head without a label so far."""
        shifts = np.zeros(self._sums.shape[1])
        for task, columns in self._groups:
            shifts[columns] = task.shift(Means(*self._sums[:, columns]))
        return np.where(self._sums[0] > 0, shifts, 0.0)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """The sums, for a checkpoint."""
        return {"sums": self._sums.copy(), "time_ms": np.array([self._time_ms], np.int64)}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from saved sums."""
        self._sums = state["sums"].copy()
        self._time_ms = int(state["time_ms"][0])
