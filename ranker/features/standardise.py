"""Running mean and variance of the numbers, as far as training has read."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

CLIP: Final = 8.0
"""Standard deviations beyond which a value says no more."""


class Statistics(BaseModel):
    """Statistics of some columns, in one order; JSON keeps every bit of them."""

    model_config = ConfigDict(extra="forbid")

    count: list[float]
    mean: list[float]
    squares: list[float]


class Standardiser:
    """Standardises columns of numbers with the statistics of all earlier rows.

    Source of the update: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", 1979.
    """

    def __init__(self, columns: int) -> None:
        self._count = np.zeros(columns)
        self._mean = np.zeros(columns)
        self._squares = np.zeros(columns)

    def standardise(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Standardise.

        Args:
            values: (R, N) transformed values, NaN where missing.

        Returns:
            (R, N) float32 within [-CLIP, CLIP]; 0 where missing or where fewer than two values were seen.
        """
        deviation = np.sqrt(self._squares / np.maximum(self._count, 1))
        usable = (self._count >= 2) & (deviation > 0)
        scaled = (values - self._mean) / np.where(usable, deviation, np.inf)
        return np.nan_to_num(np.clip(scaled, -CLIP, CLIP), nan=0.0).astype(np.float32)

    def observe(self, values: NDArray[np.float64]) -> None:
        """Take rows into the statistics.

        Args:
            values: (R, N) transformed values, NaN where missing.
        """
        known = ~np.isnan(values)
        count = known.sum(axis=0)
        filled = np.where(known, values, 0.0)
        mean = filled.sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(known, values - mean, 0.0) ** 2).sum(axis=0)
        total = self._count + count
        shift = mean - self._mean
        share = count / np.maximum(total, 1)
        self._squares += squares + shift**2 * self._count * share
        self._mean += shift * share
        self._count = total

    def state(self) -> Statistics:
        """The statistics, for a checkpoint or a bundle."""
        return Statistics(
            count=self._count.tolist(), mean=self._mean.tolist(), squares=self._squares.tolist()
        )

    def load(self, state: Statistics) -> None:
        """Go on from saved statistics."""
        self._count = np.array(state.count)
        self._mean = np.array(state.mean)
        self._squares = np.array(state.squares)
