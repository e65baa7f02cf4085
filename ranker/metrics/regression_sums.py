"""Streaming metrics of heads that predict an amount.

Shape letters: B rows of a batch, K heads.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranker.metrics.streaming import Floats, MetricSums


class RegressionSums(MetricSums):
    """Rows, root of the mean squared error, and calibration: mean prediction over mean label."""

    metrics = ("rows", "rmse", "calibration")
    counts = frozenset({"rows"})

    @staticmethod
    def zeros(heads: int) -> dict[str, NDArray[Any]]:
        """Rows; sums of labels, predictions and squared errors."""
        return {"rows": np.zeros(heads, np.int64), "sums": np.zeros((3, heads))}

    def update(self, predictions: Floats, labels: Floats, missing: NDArray[np.bool_]) -> None:
        """Add a batch; see `MetricSums.update`."""
        error = np.square(predictions - labels)
        self.arrays["rows"] += np.count_nonzero(~missing, axis=1)
        self.arrays["sums"] += [labels.sum(axis=1), predictions.sum(axis=1), error.sum(axis=1)]

    def result(self) -> Floats:
        """(K, M) the metrics so far, NaN where undefined."""
        rows, (label, prediction, error) = self.arrays["rows"], self.arrays["sums"]
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN: undefined
            ratio = np.where(label == 0, np.nan, prediction / label)
            return np.stack([rows, np.sqrt(error / rows), ratio], axis=1)
