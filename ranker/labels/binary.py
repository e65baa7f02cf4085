"""Labels of 0 or 1, such as a click: the head predicts the chance of a 1.

Shape letters: B rows, K labels that are alike.
"""

from typing import Final, Literal

import numpy as np
from torch import Tensor
from torch.nn import functional

from ranker.labels.head_report import HeadReport, JudgedRows, Pair, finite
from ranker.labels.label import Floats, Label, Means, Task
from ranker.metrics.binary_sums import BinarySums
from ranker.metrics.exact import PROBABILITY_FLOOR, calibration, log_loss
from ranker.metrics.intervals import Interval, auc_difference_interval, auc_interval

MIN_DIVISOR: Final = 1e-12
MIN_RATE: Final = 1e-9
"""Rates are kept this far from 0 and 1, where their logit would be infinite."""
MAX_SPREAD: Final = 3.0
"""Predictions are never taken to answer less to a shift than by this factor."""


class BinaryReport(HeadReport):
    """How good the head of a binary label is.

    Attributes:
        positives: Rows whose label is 1.
        log_loss: Mean cross-entropy, in nats.
        baseline_auc: The other ranker's AUC on the same rows.
        gain_ci: 95 % interval of auc - baseline_auc, paired over viewers.
    """

    positives: int
    log_loss: float | None
    baseline_auc: float | None = None
    baseline_auc_ci: Pair | None = None
    gain_ci: Pair | None = None

    @property
    def loss_text(self) -> str:
        """The log loss."""
        return "" if self.log_loss is None else f"{self.log_loss:.4f}"


class BinaryLabel(Label):
    """0 or 1. The output is a logit, its loss the cross-entropy."""

    is_probability = True
    sums = BinarySums
    loss_metric = "log_loss"

    kind: Literal["binary"]

    @property
    def value_range(self) -> tuple[float, float]:
        """0 to 1."""
        return 0.0, 1.0

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy in nats."""
        return functional.binary_cross_entropy_with_logits(outputs, labels, reduction="none")

    def row_losses(self, labels: Floats, predictions: Floats) -> Floats:
        """Cross-entropy in nats."""
        probability = np.clip(predictions, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
        losses: Floats = -(labels * np.log(probability) + (1 - labels) * np.log(1 - probability))
        return losses

    def base_outputs(self, total: Tensor, count: Tensor) -> Tensor:
        """The logit of the rate, with half a positive and half a negative more."""
        rate = (total + 0.5) / (count + 1)
        return rate.clamp(1e-6, 1 - 1e-6).logit()

    def natural_units(self, outputs: Tensor) -> Tensor:
        """Probabilities."""
        return outputs.sigmoid()

    def slope(self, predictions: Floats) -> Floats:
        """The derivative of the sigmoid."""
        return predictions * (1 - predictions)

    def shift(self, means: Means) -> Floats:
        """The difference of the means' logits, times a factor.

        Predictions that are spread answer less to a shift than one constant would; the factor makes up for
        that.
        """
        rates = (np.array([means.label, means.prediction]) + 0.5) / (means.weight + 1)
        rate, expected = np.clip(rates, MIN_RATE, 1 - MIN_RATE)
        of_means = expected * (1 - expected) * means.weight
        spread = of_means / np.maximum(means.slope, np.maximum(of_means / MAX_SPREAD, MIN_DIVISOR))
        shift: Floats = (np.log(rate / (1 - rate)) - np.log(expected / (1 - expected))) * spread
        return shift

    def report(self, rows: JudgedRows) -> BinaryReport:
        """AUC with its interval, log loss and calibration; with a baseline the gain over it."""
        label, prediction = rows.labels, rows.predictions
        area = auc_interval(label, prediction, rows.viewers, replicates=rows.replicates)
        report = BinaryReport(
            rows=len(label),
            positives=int(label.sum()),
            auc=finite(area.estimate),
            auc_ci=_pair(area),
            log_loss=finite(log_loss(label, prediction)),
            calibration=finite(calibration(label, prediction)),
        )
        if area.reason:
            report = report.model_copy(update={"no_interval": area.reason})
        if rows.baseline is None:
            return report
        theirs = auc_interval(label, rows.baseline, rows.viewers, replicates=rows.replicates)
        gain = auc_difference_interval(
            label, prediction, rows.baseline, rows.viewers, replicates=rows.replicates
        )
        compared = {
            "baseline_auc": finite(theirs.estimate),
            "baseline_auc_ci": _pair(theirs),
            "gain_ci": _pair(gain),
        }
        return report.model_copy(update=compared)


class BinaryTask(Task, BinaryLabel):
    """A head that predicts the chance of a 1."""

    kind: Literal["binary"]


def _pair(interval: Interval) -> Pair | None:
    return (interval.low, interval.high) if np.isfinite(interval.low) else None
