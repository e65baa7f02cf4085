"""How far a distribution has moved: the population stability index.

Shape letters: B bins, N values.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS: Final = 10
"""Bins of equal numbers of expected values."""
PRIOR: Final = 0.5
"""Is added to every count, so that an empty bin has a logarithm."""


def stability_index(expected: NDArray[np.generic], found: NDArray[np.generic]) -> float:
    """The population stability index of two histograms: the sum of (q - p) log(q / p) over their bins.

    It is the symmetrised Kullback-Leibler divergence. Below 0.1 a distribution is usually said to be stable,
    above 0.25 to have moved. Two samples of one distribution have about (B - 1) (1 / n + 1 / m) of it.
    Source: Siddiqi, Credit Risk Scorecards, Wiley 2006.

    Args:
        expected: (B,) counts.
        found: (B,) counts.

    Returns:
        At least 0; NaN if either has none.
    """
    p, q = (counts.astype(np.float64) + PRIOR for counts in (expected, found))
    if not (expected.sum() > 0 and found.sum() > 0):
        return float("nan")
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((q - p) * np.log(q / p)))


def stability_of_values(expected: Floats, found: Floats) -> float:
    """The population stability index of two samples, in the bins of the expected one's deciles.

    Args:
        expected: (N,) finite.
        found: (M,) finite; M may be another number.
    """
    if not (len(expected) and len(found)):
        return float("nan")
    edges = np.unique(np.quantile(expected, np.arange(1, BINS) / BINS))
    counts = [
        np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
        for values in (expected, found)
    ]
    return stability_index(*counts)
