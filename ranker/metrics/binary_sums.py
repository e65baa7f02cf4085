"""Streaming metrics of heads that predict the chance of a 1.

AUC comes from a histogram of the predicted logits of positives and of negatives, `BINS` bins wide over
[-`LOGIT_RANGE`, `LOGIT_RANGE`]. Two rows in one bin count as a tie, so the result is off by at most half the
share of (positive, negative) pairs that fall into one bin. A bin is 0.006 wide: with logits spread like a
normal of deviation 1 that is below 0.001, and in practice far less, as ties err both ways.

Shape letters: B rows of a batch, K heads.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranker.metrics.exact import PROBABILITY_FLOOR
from ranker.metrics.streaming import Floats, MetricSums

BINS: Final = 4096
LOGIT_RANGE: Final = 12.0


class BinarySums(MetricSums):
    """Rows, positives, AUC, log loss in nats, and calibration: mean prediction over mean label."""

    metrics = ("rows", "positives", "auc", "log_loss", "calibration")
    counts = frozenset({"rows", "positives"})

    @staticmethod
    def zeros(heads: int) -> dict[str, NDArray[Any]]:
        """Rows; sums of labels, predictions and losses; logits of negatives and positives."""
        return {
            "rows": np.zeros(heads, np.int64),
            "sums": np.zeros((3, heads)),
            "histogram": np.zeros((2, heads, BINS), np.int64),
        }

    def update(self, predictions: Floats, labels: Floats, missing: NDArray[np.bool_]) -> None:
        """Add a batch; see `MetricSums.update`."""
        probability = np.clip(predictions, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
        log_p, log_not_p = np.log(probability), np.log(1 - probability)
        self._count(log_p - log_not_p, labels, missing)
        loss = -(labels * log_p + (1 - labels) * log_not_p)
        loss[missing] = 0
        self.arrays["rows"] += np.count_nonzero(~missing, axis=1)
        self.arrays["sums"] += [labels.sum(axis=1), predictions.sum(axis=1), loss.sum(axis=1)]

    def _count(self, logits: Floats, labels: Floats, missing: NDArray[np.bool_]) -> None:
        """Add logits, (K, B), to the histogram."""
        histogram = self.arrays["histogram"]
        # fmin and fmax drop a NaN: it is counted in some bin, and seen in the sums
        logits = np.fmin(np.fmax(logits, -LOGIT_RANGE), LOGIT_RANGE)
        bins = ((logits + LOGIT_RANGE) * ((BINS - 1) / (2 * LOGIT_RANGE))).astype(np.intp)
        bins += np.arange(len(bins))[:, None] * BINS + (labels > 0.5) * histogram[0].size
        bins[missing] = histogram.size
        counts = np.bincount(bins.ravel(), minlength=histogram.size + 1)
        histogram += counts[:-1].reshape(histogram.shape)

    def result(self) -> Floats:
        """(K, M) the metrics so far, NaN where undefined."""
        rows, (label, prediction, loss) = self.arrays["rows"], self.arrays["sums"]
        negatives, positives = self.arrays["histogram"]
        positive_rows = positives.sum(axis=1)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        won = np.einsum("qb,qb->q", positives.astype(np.float64), below)
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN: undefined
            auc = won / (positive_rows.astype(np.float64) * negatives.sum(axis=1))
            ratio = np.where(label == 0, np.nan, prediction / label)
            return np.stack([rows, positive_rows, auc, loss / rows, ratio], axis=1)
