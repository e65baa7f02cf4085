"""A running correction of the heads' means: what the exported heads are shifted by.

A head that learns the logarithm of its label predicts the typical value, which for a skewed label lies far
below the mean; and every head lags behind when the base rate moves. One constant added to a head's output
brings the mean of its predictions near that of its labels. It is fitted to rows that were predicted before
they were learned from, newer ones weighing more.

Source for labels learned as logarithms: Duan, "Smearing Estimate: A Nonparametric Retransformation Method",
JASA 78, 1983, https://doi.org/10.1080/01621459.1983.10478017.

Shape letters: B rows, T tasks.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.labels.label import Task

Floats = NDArray[np.float64]
TINY: Final = 1e-12
LEAST: Final = 0.1
"""A prediction of a log1p head is never made less than a tenth."""
MOST_SPREAD: Final = 3.0
"""Predictions are never taken to answer less to a shift than by this factor."""


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
        self._sums = np.zeros((4, len(tasks)))  # of weights, labels, predictions and their slopes
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
        slope = np.where(self._binary, predictions * (1 - predictions), 1.0)
        rows = np.stack([np.ones_like(predictions), np.nan_to_num(labels), predictions, slope])
        share = 0.5 ** (max(time_ms - self._time_ms, 0) / self._half_life_ms)
        self._sums = share * self._sums + (weight * rows).sum(axis=1)
        self._time_ms = max(time_ms, self._time_ms)

    def shifts(self) -> Floats:
        """(T,) what to add to each head's output: a logit, a logarithm or the label itself.

        A logit is shifted by the difference of the means' logits, and by as much more as spread predictions
        answer less to a shift than one constant would.
        """
        weight, label, predicted, slope = self._sums
        shifts = (label - predicted) / np.maximum(weight, TINY)
        logs = self._log1p
        ratio = (weight + label)[logs] / np.maximum((weight + predicted)[logs], TINY)
        shifts[logs] = np.log(np.maximum(ratio, LEAST))
        binary = self._binary
        rate, expected = (np.array([label, predicted])[:, binary] + 0.5) / (weight[binary] + 1)
        of_means = expected * (1 - expected) * weight[binary]
        spread = of_means / np.maximum(slope[binary], np.maximum(of_means / MOST_SPREAD, TINY))
        shifts[binary] = (np.log(rate / (1 - rate)) - np.log(expected / (1 - expected))) * spread
        return np.where(weight > 0, shifts, 0.0)

    def state(self) -> dict[str, NDArray[np.float64]]:
        """The sums, for a checkpoint."""
        return {"sums": self._sums, "time_ms": np.array([self._time_ms], float)}

    def load(self, state: dict[str, NDArray[np.float64]]) -> None:
        """Go on from saved sums."""
        self._sums = state["sums"].copy()
        self._time_ms = int(state["time_ms"][0])
