"""Quantiles of the magnitudes of a stream, from counts in bins that widen with the magnitude.

A bin is the exponent and the first three bits of the fraction of a float32: an eighth of an octave. So a
quantile is at most an eighth too high, whatever the unit, and the same rows give the same bits everywhere.

Source: Masson, Rim and Lee, "DDSketch", VLDB 2019, https://doi.org/10.14778/3352063.3352135.

Shape letters: B rows, K columns.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

MIN_VALUES: Final = 10
"""Fewer values have no quantile."""
MAX_VALUES: Final = 2**20
"""Counts are halved beyond so many values, so that quantiles follow what changes."""
_BITS: Final = 20  # of a float32 that are left out: 31 without the sign, less 8 of exponent, less 3
_BINS: Final = 2**11


@dataclass(frozen=True)
class MagnitudeCounts:
    """How many values had which magnitude; missing values, infinite ones and 0 are not counted.

    Attributes:
        counts: (K, bins) int64.
    """

    counts: NDArray[np.int64]

    @classmethod
    def of_none(cls, columns: int) -> Self:
        """Before the first row."""
        return cls(np.zeros((columns, _BINS), np.int64))

    def with_rows(self, values: NDArray[np.float32]) -> Self:
        """The counts with some more rows.

        Args:
            values: (B, K) float32, NaN where missing.
        """
        magnitude = np.ascontiguousarray(np.abs(values.T))
        bins = magnitude.view(np.int32) >> _BITS
        counted = np.isfinite(magnitude) & (magnitude > 0)
        fresh = [np.bincount(of[known], minlength=_BINS) for of, known in zip(bins, counted, strict=True)]
        counts = self.counts + np.stack(fresh)
        too_many = counts.sum(axis=1) > MAX_VALUES
        counts[too_many] //= 2
        return type(self)(counts)

    def quantile(self, share: float) -> NDArray[np.float64]:
        """(K,) the magnitude below which this share of the values is; infinite without `MIN_VALUES`."""
        total = self.counts.sum(axis=1)
        reached = self.counts.cumsum(axis=1) >= share * total[:, None]
        upper_edge = ((reached.argmax(axis=1).astype(np.int32) + 1) << _BITS).view(np.float32)
        return np.where(total < MIN_VALUES, np.inf, upper_edge.astype(np.float64))
