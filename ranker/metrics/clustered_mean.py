"""The mean of what rows have, with an interval over viewers.

Shape letters: N rows, V viewers.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranker.metrics.intervals import (
    MIN_VIEWERS,
    Floats,
    Interval,
    no_interval,
    number_viewers,
    student_quantile,
)


def mean_interval(values: Floats, viewers: NDArray[Any]) -> Interval:
    """The mean of rows and its 95 % interval, as rows of one viewer resemble each other.

    The variance is that of what each viewer's rows do to the mean, and Student's t has the degrees of freedom
    of as many viewers of the same weight as there are in effect. Of differences between two models on the
    same rows it is a paired interval.
    Source: Cameron and Miller, "A Practitioner's Guide to Cluster-Robust Inference", Journal of Human
    Resources 50, 2015, https://doi.org/10.3368/jhr.50.2.317.

    Args:
        values: (N,) finite.
        viewers: (N,) viewer of each row, of any type that sorts.
    """
    if not len(values):
        return no_interval(math.nan, f"0 viewers of at least {MIN_VIEWERS}")
    viewer, estimate = number_viewers(viewers), float(values.mean())
    rows = np.bincount(viewer)
    if len(rows) < MIN_VIEWERS:
        return no_interval(estimate, f"{len(rows)} viewers of at least {MIN_VIEWERS}")
    influence = np.bincount(viewer, weights=values - estimate) / len(values)
    deviation = math.sqrt(float(np.square(influence).sum()) * len(rows) / (len(rows) - 1))
    in_effect = len(values) ** 2 / float(np.square(rows.astype(np.float64)).sum())
    margin = student_quantile(max(in_effect - 1, 4.0)) * deviation
    return Interval(estimate, estimate - margin, estimate + margin, 0)
