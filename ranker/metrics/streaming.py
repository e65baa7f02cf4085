"""Metrics of a stream of rows, from sums of a fixed size that add up across batches and processes.

AUC comes from a histogram of the predicted logits of positives and of negatives, `BINS` bins wide over
[-`LOGIT_RANGE`, `LOGIT_RANGE`]. Two rows in one bin count as a tie, so the result is off by at most half the
share of (positive, negative) pairs that fall into one bin. A bin is 0.006 wide: with logits spread like a
normal of deviation 1 that is below 0.001, and in practice far less, as ties err both ways.

Shape letters: B rows of a batch, T tasks, Q binary tasks, R regression tasks.
"""

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from ranker.errors import CheckpointError
from ranker.metrics.exact import PROBABILITY_FLOOR

Floats = NDArray[np.float64]
Kind = Literal["binary", "regression"]

BINS: Final = 4096
LOGIT_RANGE: Final = 12.0
METRICS: Final = ("rows", "positives", "auc", "log_loss", "rmse", "calibration")
"""Columns of `StreamingMetrics.result`."""


class StreamingMetrics:
    """Sums over rows, from which every head's metrics follow.

    Args:
        kinds: Every head's kind, in the order of the predictions' columns.
    """

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._binary = np.array([kind == "binary" for kind in kinds.values()])
        binary = int(self._binary.sum())
        self._rows = np.zeros(len(kinds), np.int64)
        self._sums = np.zeros((3, len(kinds)))  # labels, predictions, losses: log loss or squared error
        self._histogram = np.zeros((2, binary, BINS), np.int64)  # negatives, positives
        self._first_bin = np.arange(binary)[:, None] * BINS

    def update(self, predictions: NDArray[np.floating], labels: NDArray[np.floating]) -> None:
        """Add a batch.

        Args:
            predictions: (B, T) in natural units. One that is NaN makes its head's sums NaN.
            labels: (B, T) in natural units, NaN where missing.
        """
        prediction_tb, label_tb = (np.ascontiguousarray(x.T, np.float64) for x in (predictions, labels))
        missing_tb = np.isnan(label_tb)
        prediction_tb = np.where(missing_tb, 0.0, prediction_tb)
        label_tb = np.where(missing_tb, 0.0, label_tb)
        loss_tb = np.square(prediction_tb - label_tb)
        loss_tb[self._binary] = self._score_binary(
            prediction_tb[self._binary], label_tb[self._binary], missing_tb[self._binary]
        )
        self._rows += np.count_nonzero(~missing_tb, axis=1)
        self._sums += [label_tb.sum(axis=1), prediction_tb.sum(axis=1), loss_tb.sum(axis=1)]

    def _score_binary(self, p_qb: Floats, label_qb: Floats, missing_qb: NDArray[np.bool_]) -> Floats:
        """Count the logits of the binary heads and return their log losses, 0 where missing: (Q, B)."""
        p_qb = np.clip(p_qb, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
        log_p, log_not_p = np.log(p_qb), np.log(1 - p_qb)
        # fmin and fmax drop a NaN: it is counted in some bin, and seen in the sums
        logit = np.fmin(np.fmax(log_p - log_not_p, -LOGIT_RANGE), LOGIT_RANGE)
        bin_qb = ((logit + LOGIT_RANGE) * ((BINS - 1) / (2 * LOGIT_RANGE))).astype(np.intp)
        bin_qb += self._first_bin + (label_qb > 0.5) * self._histogram[0].size
        bin_qb[missing_qb] = self._histogram.size
        counts = np.bincount(bin_qb.ravel(), minlength=self._histogram.size + 1)
        self._histogram += counts[:-1].reshape(self._histogram.shape)
        loss_qb = -(label_qb * log_p + (1 - label_qb) * log_not_p)
        loss_qb[missing_qb] = 0
        return loss_qb

    def merge(self, other: "StreamingMetrics") -> None:
        """Add the sums of other rows of the same heads."""
        self._rows += other._rows
        self._sums += other._sums
        self._histogram += other._histogram

    def result(self) -> Floats:
        """The metrics so far: (T, len(METRICS)), NaN where undefined or not of the head's kind."""
        label, prediction, loss = self._sums
        result = np.full((len(self._rows), len(METRICS)), np.nan)
        negatives, positives = self._histogram.sum(axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN: undefined
            mean_loss = loss / self._rows
            result[:, 0] = self._rows
            result[self._binary, 1] = positives
            below = np.cumsum(self._histogram[0], axis=1) - self._histogram[0] / 2
            won = np.einsum("qb,qb->q", self._histogram[1].astype(np.float64), below)
            result[self._binary, 2] = won / (positives.astype(np.float64) * negatives)
            result[:, 3] = np.where(self._binary, mean_loss, np.nan)
            result[:, 4] = np.where(self._binary, np.nan, np.sqrt(mean_loss))
            result[:, 5] = np.where(label == 0, np.nan, prediction / label)
        return result

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Copies of the sums, for a checkpoint."""
        return {"rows": self._rows.copy(), "sums": self._sums.copy(), "histogram": self._histogram.copy()}

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from the sums that `state` gave.

        Raises:
            CheckpointError: They are of other heads.
        """
        for name, own in (("rows", self._rows), ("sums", self._sums), ("histogram", self._histogram)):
            found = state.get(name)
            if found is None or found.shape != own.shape or found.dtype != own.dtype:
                raise CheckpointError(
                    f"metric state '{name}': expected {own.dtype} {own.shape}, "
                    f"found {'none' if found is None else f'{found.dtype} {found.shape}'}"
                )
            own[...] = found
