"""How sure a metric is: how it varies over viewers.

Rows of one viewer resemble each other, so viewers are what an interval is over, not rows. Of many viewers,
whole viewers are drawn with replacement: a replicate weighs every row by how often its viewer was drawn.
Source: cluster bootstrap, Field and Welsh 2007, https://doi.org/10.1111/j.1467-9868.2007.00593.x.

Of few viewers or few rows of a class, the percentiles of such draws are too narrow. There the variance is
computed from what each viewer's rows do to the metric, and widened by Student's t. Of fewer still, an
interval says nothing and none is given.

Shape letters: N rows, V viewers, R replicates.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranker.metrics.weighted_auc import WeightedAuc

Floats = NDArray[np.float64]

MIN_VIEWERS: Final = 30
MIN_CLASS: Final = 10
"""Fewer viewers, positives or negatives have no interval."""
MIN_VIEWERS_OF_CLASS: Final = 5
"""Fewer viewers with a positive, or with a negative, have none either."""
MANY_VIEWERS: Final = 300
MANY_OF_CLASS: Final = 100
"""So many viewers, positives and negatives are drawn from."""
Z: Final = 1.959964
"""The normal distribution's quantile of 97.5 %."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval; NaN where undefined.

    Attributes:
        estimate: The metric of all rows.
        low: 2.5 % are expected below.
        high: 2.5 % are expected above.
        replicates: Draws that had both classes, if viewers were drawn; the others are left out.
        reason: Why there is no interval; empty if there is one.
    """

    estimate: float
    low: float
    high: float
    replicates: int
    reason: str = ""


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
    viewer, area = number_viewers(viewers), WeightedAuc(labels, scores)
    estimate = area(np.ones(len(labels)))
    if reason := too_few(labels, viewer):
        return no_interval(estimate, reason)
    if many(labels, viewer):
        return drawn_interval(area, viewer, replicates, seed)
    if estimate in (0, 1):
        return no_interval(estimate, "the scores separate the labels")
    margin = _margin(area.influence(viewer), labels, viewer) / (estimate * (1 - estimate))
    centre = np.log(estimate / (1 - estimate))
    low, high = 1 / (1 + np.exp(-(centre + np.array([-margin, margin]))))
    return Interval(estimate, float(low), float(high), 0)


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
    return Z * math.sqrt(max(variance, 0.0))


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

    Both are computed on the same viewers, so what makes some of them hard for both cancels out.

    Args:
        labels: (N,) 0 or 1, none missing.
        scores: (N,) the scores in question.
        baseline: (N,) the scores they are compared with.
        viewers: (N,) viewer of each row, of any type that sorts.
        replicates: R, how often the viewers are drawn.
        seed: The same seed draws the same viewers.
    """
    viewer = number_viewers(viewers)
    ours, theirs = WeightedAuc(labels, scores), WeightedAuc(labels, baseline)

    def difference(weights: Floats) -> float:
        return ours(weights) - theirs(weights)

    estimate = difference(np.ones(len(labels)))
    if reason := too_few(labels, viewer):
        return no_interval(estimate, reason)
    if many(labels, viewer):
        return drawn_interval(difference, viewer, replicates, seed)
    margin = _margin(ours.influence(viewer) - theirs.influence(viewer), labels, viewer)
    return Interval(estimate, estimate - margin, estimate + margin, 0)


def too_few(labels: Floats, viewer: NDArray[np.intp]) -> str:
    """Why some rows are too few for an interval; empty if they are not.

    Args:
        labels: (N,) 0 or 1, none missing.
        viewer: (N,) numbers that `number_viewers` gave.
    """
    with_positive, with_negative = _viewers_by_class(labels, viewer)
    for what, count, least in (
        ("viewers", len(np.unique(viewer)), MIN_VIEWERS),
        ("positives", np.count_nonzero(labels > 0), MIN_CLASS),
        ("negatives", np.count_nonzero(labels <= 0), MIN_CLASS),
        ("viewers with a positive", with_positive, MIN_VIEWERS_OF_CLASS),
        ("viewers with a negative", with_negative, MIN_VIEWERS_OF_CLASS),
    ):
        if count < least:
            return f"{count} {what} of at least {least}"
    return ""


def many(labels: Floats, viewer: NDArray[np.intp]) -> bool:
    """Whether there are so many viewers, positives and negatives that percentiles of draws cover."""
    rarer = min(np.count_nonzero(labels > 0), np.count_nonzero(labels <= 0))
    return len(np.unique(viewer)) >= MANY_VIEWERS and bool(rarer >= MANY_OF_CLASS)


def no_interval(estimate: float, reason: str) -> Interval:
    """An estimate without an interval."""
    return Interval(estimate, float("nan"), float("nan"), 0, reason)


def _margin(influence: Floats, labels: Floats, viewer: NDArray[np.intp]) -> float:
    """Half the width of an interval, from what each of the viewers does to the metric: (V,).

    The degrees of freedom are those of the viewers with rows of the rarer class, of whom there are fewer.
    """
    viewers = len(influence)
    variance = float(np.square(influence).sum()) * viewers / (viewers - 1)
    return student_quantile(min(_viewers_by_class(labels, viewer)) - 1) * float(np.sqrt(variance))


def _viewers_by_class(labels: Floats, viewer: NDArray[np.intp]) -> tuple[int, int]:
    """How many viewers have a positive, and how many a negative."""
    return len(np.unique(viewer[labels > 0])), len(np.unique(viewer[labels <= 0]))


def student_quantile(freedom: float) -> float:
    """Student's quantile of 97.5 %, by its expansion around the normal one: to 0.3 % from 4 degrees on.

    Source: Fisher and Cornish, Technometrics 2, 1960, https://doi.org/10.2307/1266546.

    Args:
        freedom: Degrees of freedom, at least 4.
    """
    n, z = freedom, Z
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )


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


def drawn_interval(
    metric: Callable[[Floats], float], viewer: NDArray[np.intp], replicates: int, seed: int
) -> Interval:
    """A metric with the interval between the percentiles of what it is in each draw of viewers.

    Args:
        metric: A function of the rows' (N,) weights.
        viewer: (N,) numbers that `number_viewers` gave.
        replicates: R, how often the viewers are drawn.
        seed: The same seed draws the same viewers.
    """
    drawn = [metric(weights) for weights in viewer_draws(viewer, replicates, seed)]
    return percentile_interval(metric(np.ones(len(viewer))), drawn)


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
