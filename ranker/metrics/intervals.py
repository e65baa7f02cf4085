"""How sure a metric is: bootstrap over viewers.

Rows of one viewer resemble each other, so whole viewers are drawn with replacement, not rows: a replicate
weighs every row by how often its viewer was drawn. Scores are sorted once; a replicate costs a few passes.

Source: cluster bootstrap, Field and Welsh 2007, https://doi.org/10.1111/j.1467-9868.2007.00593.x.

Shape letters: N rows, V viewers, R replicates.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % percentile interval; NaN where undefined.

    Attributes:
        estimate: The metric of all rows.
        low: 2.5 % of the replicates are below.
        high: 2.5 % of the replicates are above.
        replicates: Replicates that had both classes; the others are left out of the interval.
    """

    estimate: float
    low: float
    high: float
    replicates: int


def auc_interval(
    labels: Floats, scores: Floats, viewers: NDArray[Any], *, replicates: int = 1000, seed: int = 0
) -> Interval:
    """AUC with its interval.

    Args:
        labels: (N,) 0 or 1, none missing.
        scores: (N,) anything that grows with the chance of a 1.
        viewers: (N,) viewer of each row, of any type that sorts.
        replicates: R, how often the viewers are drawn.
        seed: The same seed draws the same viewers.
    """
    area = WeightedAuc(labels, scores)
    viewer = number_viewers(viewers)
    drawn = [area(weights) for weights in viewer_draws(viewer, replicates, seed)]
    return percentile_interval(area(np.ones(len(labels))), drawn)


def auc_margin(auc: float, positives: float, negatives: float) -> float:
    """Half the width of AUC's 95 % interval from counts alone, as if no two rows were of one viewer.

    Source: Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747.

    Args:
        auc: The estimate.
        positives: Rows of 1.
        negatives: Rows of 0.

    Returns:
        NaN without a row of either kind.
    """
    if min(positives, negatives) < 1:
        return math.nan
    of_two_positives, of_two_negatives = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (
        auc * (1 - auc)
        + (positives - 1) * (of_two_positives - auc**2)
        + (negatives - 1) * (of_two_negatives - auc**2)
    ) / (positives * negatives)
    return 1.96 * math.sqrt(max(variance, 0.0))


def auc_difference_interval(
    labels: Floats,
    scores: Floats,
    baseline: Floats,
    viewers: NDArray[Any],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> Interval:
    """AUC of some scores minus that of others on the same rows, with its interval.

    Both are computed on the same draws, so what makes a draw hard for both cancels out.

    Args:
        labels: (N,) 0 or 1, none missing.
        scores: (N,) the scores in question.
        baseline: (N,) the scores they are compared with.
        viewers: (N,) viewer of each row, of any type that sorts.
        replicates: R, how often the viewers are drawn.
        seed: The same seed draws the same viewers.
    """
    ours, theirs = WeightedAuc(labels, scores), WeightedAuc(labels, baseline)
    viewer = number_viewers(viewers)
    drawn = [ours(weights) - theirs(weights) for weights in viewer_draws(viewer, replicates, seed)]
    rows = np.ones(len(labels))
    return percentile_interval(ours(rows) - theirs(rows), drawn)


class WeightedAuc:
    """AUC of fixed labels and scores as a function of the rows' weights.

    Among negatives sorted by score, each positive finds where those below it and those tied with it end.

    Args:
        labels: (N,) 0 or 1, none missing.
        scores: (N,) anything that grows with the chance of a 1.
    """

    def __init__(self, labels: Floats, scores: Floats) -> None:
        positives, negatives = np.flatnonzero(labels > 0), np.flatnonzero(labels <= 0)
        self.positives = positives
        self.negatives = negatives[np.argsort(scores[negatives], kind="stable")]
        ordered = scores[self.negatives]
        self.below = np.searchsorted(ordered, scores[positives], side="left")
        self.up_to_ties = np.searchsorted(ordered, scores[positives], side="right")
        self.cumulative = np.zeros(len(negatives) + 1)  # reused by every call

    def __call__(self, weights: Floats) -> float:
        """AUC with these (N,) weights, NaN if one class has none."""
        np.cumsum(weights[self.negatives], out=self.cumulative[1:])
        positive = weights[self.positives]
        pairs = positive.sum() * self.cumulative[-1]
        if pairs == 0:
            return float("nan")
        won = self.cumulative[self.below] + self.cumulative[self.up_to_ties]
        return float(positive @ won / (2 * pairs))


def number_viewers(viewers: NDArray[Any]) -> NDArray[np.intp]:
    """Give the viewers the numbers 0 to V - 1: (N,)."""
    return np.unique(viewers, return_inverse=True)[1]


def viewer_draws(viewer: NDArray[np.intp], replicates: int, seed: int) -> Iterator[Floats]:
    """Yield R times the (N,) weights of the rows: how often each one's viewer was drawn.

    Args:
        viewer: (N,) numbers that `number_viewers` gave.
        replicates: R.
        seed: The same seed draws the same viewers.
    """
    random = np.random.default_rng(seed)
    count = int(viewer.max(initial=-1)) + 1
    for _ in range(replicates):
        times = np.bincount(random.integers(count, size=count), minlength=count)
        yield times.astype(np.float64)[viewer]


def percentile_interval(estimate: float, drawn: Sequence[float] | Floats) -> Interval:
    """The interval between the percentiles of what was found in each draw; NaN where a draw had one class.

    Args:
        estimate: Of all rows.
        drawn: (R,) of the draws.
    """
    defined = np.array(drawn)[~np.isnan(drawn)]
    if not len(defined):
        return Interval(estimate, float("nan"), float("nan"), 0)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Interval(estimate, float(low), float(high), len(defined))
