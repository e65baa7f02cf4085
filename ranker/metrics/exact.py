"""Metrics of a whole set of rows, computed exactly.

Shape letter: N rows. Missing labels are left out by the caller; a NaN that gets here makes the metric NaN.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PROBABILITY_FLOOR: Final = 1e-7
"""Probabilities are kept this far from 0 and 1 before a logarithm; float32 cannot tell them closer to 1."""


def auc(labels: Floats, scores: Floats, weights: Floats | None = None) -> float:
    """Chance that a positive row scores above a negative one; a tie counts one half.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) anything that grows with the chance of a 1.
        weights: (N,) at least 0; 1 for all rows by default.

    Returns:
        Area under the ROC curve, NaN if all the weight is in one class.
    """
    weight = np.ones(len(scores)) if weights is None else weights
    return _area(weight * labels, weight * (1 - labels), scores)


def expected_auc(probabilities: Floats, scores: Floats) -> float:
    """AUC against known chances in place of drawn labels.

    A row with probability p counts as a positive of weight p and a negative of weight 1 - p, so the ceiling
    is the area that the probabilities themselves reach as scores, not 1.

    Args:
        probabilities: (N,) true chance of a 1.
        scores: (N,) anything that grows with it.

    Returns:
        Area under the ROC curve, NaN if all probabilities are 0 or all are 1.
    """
    return _area(probabilities, 1 - probabilities, scores)


def log_loss(labels: Floats, probabilities: Floats) -> float:
    """Mean binary cross-entropy in nats.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) predicted chance of a 1, clipped by `PROBABILITY_FLOOR`.

    Returns:
        The mean, NaN without rows.
    """
    p = np.clip(probabilities, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    return _mean(-(labels * np.log(p) + (1 - labels) * np.log(1 - p)))


def squared_error(labels: Floats, predictions: Floats) -> float:
    """Mean squared error, in the label's unit squared; NaN without rows.

    Args:
        labels: (N,) in natural units.
        predictions: (N,) in the same unit.
    """
    return _mean((predictions - labels) ** 2)


def rmse(labels: Floats, predictions: Floats) -> float:
    """Root of the mean squared error, in the label's unit; NaN without rows.

    Args:
        labels: (N,) in natural units.
        predictions: (N,) in the same unit.
    """
    return float(np.sqrt(squared_error(labels, predictions)))


def calibration(labels: Floats, predictions: Floats) -> float:
    """Mean prediction over mean label: 1 is calibrated, above 1 promises too much.

    Args:
        labels: (N,) in natural units.
        predictions: (N,) in the same unit.

    Returns:
        The ratio, NaN where the labels sum to 0.
    """
    total = float(np.sum(labels))
    return float(np.sum(predictions)) / total if total else float("nan")


def _mean(values: Floats) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _area(positive: Floats, negative: Floats, scores: Floats) -> float:
    """Share of the (positive, negative) weight that is in order; both (N,), scores (N,)."""
    pairs = float(np.sum(positive)) * float(np.sum(negative))
    if not pairs > 0 or np.isnan(scores).any():
        return float("nan")
    order = np.argsort(scores)
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))  # one group per score
    positive_g = np.add.reduceat(positive[order], starts)
    negative_g = np.add.reduceat(negative[order], starts)
    below_g = np.cumsum(negative_g) - negative_g / 2
    return float(positive_g @ below_g) / pairs
