"""A running correction of the heads' means: what the exported heads are shifted by.

A head that learns the logarithm of its label predicts the typical value, which for a skewed label lies far
below the mean; and every head lags behind when the base rate moves. One constant added to a head's output
brings the mean of its predictions to the mean of its labels. It is fitted to rows that were predicted before
they were learned from, newer ones weighing more.

Source for labels learned as logarithms: Duan, "Smearing Estimate: A Nonparametric Retransformation Method",
JASA 78, 1983, https://doi.org/10.1080/01621459.1983.10478017.

Shape letters: B rows, T tasks.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.spec import Task

Floats = NDArray[np.float64]
LEAST: Final = -0.9
"""A prediction is never made less than a tenth."""


class MeanCorrection:
    """Follows predictions and labels with decayed sums, and says which shift makes their means agree.

    Args:
        tasks: In the order of the columns.
        half_life_s: Event time after which a row counts half.
    """

    def __init__(self, tasks: Sequence[Task], half_life_s: float) -> None:
        self._binary = np.array([task.kind == "binary" for task in tasks])
        self._log1p = np.array([task.transform == "log1p" for task in tasks])
        self._half_life_ms = half_life_s * 1000
        self._residual = np.zeros(len(tasks))
        self._slope = np.zeros(len(tasks))
        self._time_ms = 0

    def update(self, predictions: Floats, labels: NDArray[np.float32], time_ms: int) -> None:
        """Take in a batch.

        Args:
            predictions: (B, T) in natural units, made before learning from the batch.
            labels: (B, T) in natural units, NaN where missing.
            time_ms: Of its last row.
        """
        known = ~np.isnan(labels)
        residual = np.where(known, labels - predictions, 0.0)
        slope = np.where(self._binary, predictions * (1 - predictions), 1.0)
        slope = np.where(self._log1p, 1 + predictions, slope)  # what a small shift adds to the prediction
        share = 0.5 ** (max(time_ms - self._time_ms, 0) / self._half_life_ms)
        self._residual = share * self._residual + residual.sum(axis=0)
        self._slope = share * self._slope + np.where(known, slope, 0.0).sum(axis=0)
        self._time_ms = max(time_ms, self._time_ms)

    def shifts(self) -> Floats:
        """(T,) what to add to each head's output: a logit, a logarithm or the label itself."""
        relative = self._residual / np.maximum(self._slope, 1e-12)
        return np.where(self._log1p, np.log1p(np.maximum(relative, LEAST)), relative)

    def state(self) -> dict[str, NDArray[np.float64]]:
        """The sums, for a checkpoint."""
        return {"residual": self._residual, "slope": self._slope, "time_ms": np.array([self._time_ms], float)}

    def load(self, state: dict[str, NDArray[np.float64]]) -> None:
        """Go on from saved sums."""
        self._residual, self._slope = state["residual"].copy(), state["slope"].copy()
        self._time_ms = int(state["time_ms"][0])
