"""Labels that are amounts, such as seconds watched or stars given: the head predicts the amount.

Shape letters: B rows, K labels that are alike.
"""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from ranker.labels.head_report import HeadReport, JudgedRows, finite
from ranker.labels.label import Floats, Label, Means, Task
from ranker.metrics.exact import calibration, rmse
from ranker.metrics.regression_sums import RegressionSums

LOG_LIMIT: Final = 30.0
"""Outputs of log1p heads are cut here before expm1: about 10^13 of any unit."""
MIN_DIVISOR: Final = 1e-12
MIN_RATIO: Final = 0.1
"""A prediction of a log1p head is never made less than a tenth."""


class RegressionReport(HeadReport):
    """How good the head of a regression label is.

    Attributes:
        rmse: In the label's unit.
    """

    rmse: float | None

    @property
    def loss_text(self) -> str:
        """The root of the mean squared error."""
        return "" if self.rmse is None else f"{self.rmse:.2f}"


class RegressionLabel(Label):
    """An amount. The output is the amount or the logarithm of 1 + the amount, its loss the squared error."""

    sums = RegressionSums
    loss_metric = "rmse"

    kind: Literal["regression"]
    transform: Literal["identity", "log1p"] = Field("identity", description="What is learned of the label.")

    @property
    def treatment(self) -> tuple[object, ...]:
        """The kind and the transform."""
        return (self.kind, self.transform)

    @property
    def value_range(self) -> tuple[float, float]:
        """Everything; from 0 where the logarithm is learned."""
        return (0.0 if self.transform == "log1p" else -np.inf), np.inf

    @property
    def learns_mean(self) -> bool:
        """Unless the logarithm is learned."""
        return self.transform != "log1p"

    @property
    def remark(self) -> str:
        """Why progressive calibration of a log1p head is not 1."""
        if self.transform != "log1p":
            return ""
        return "a log1p head predicts the typical value, not the mean: its calibration lies below 1"

    def loss_text(self, loss: float) -> str:
        """The root of the mean squared error in the label's unit."""
        return f"{loss:.2f}" + (f" {self.unit}" if self.unit else "")

    def learned(self, labels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logarithm of 1 + the label, or the label; bounds below the least label stay in order."""
        return np.log1p(np.maximum(labels, np.float32(-0.5))) if self.transform == "log1p" else labels

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Squared error of what is learned."""
        return (outputs - self.target(labels)).square()

    def row_losses(self, labels: Floats, predictions: Floats) -> Floats:
        """Squared error of what is learned."""
        if self.transform == "log1p":
            labels, predictions = np.log1p(np.maximum(labels, 0)), np.log1p(np.maximum(predictions, 0))
        return super().row_losses(labels, predictions)

    def target(self, labels: Tensor) -> Tensor:
        """The logarithm of 1 + the label, or the label."""
        return labels.clamp_min(0).log1p() if self.transform == "log1p" else labels

    def base_outputs(self, total: Tensor, count: Tensor) -> Tensor:
        """The mean of what is learned."""
        return total / count

    def natural_units(self, outputs: Tensor) -> Tensor:
        """Amounts; those of a log1p label are at least 0."""
        if self.transform == "log1p":
            return outputs.clamp(max=LOG_LIMIT).expm1().clamp_min(0)
        return outputs

    def shift(self, means: Means) -> Floats:
        """The difference of the means, or the logarithm of the ratio of 1 + each.

        A head that learns the logarithm predicts the typical value, which for a skewed label lies far below
        the mean. Source: Duan, "Smearing Estimate: A Nonparametric Retransformation Method", JASA 78, 1983,
        https://doi.org/10.1080/01621459.1983.10478017.
        """
        if self.transform == "log1p":
            ratio = (means.weight + means.label) / np.maximum(means.weight + means.prediction, MIN_DIVISOR)
            return np.log(np.maximum(ratio, MIN_RATIO))
        return (means.label - means.prediction) / np.maximum(means.weight, MIN_DIVISOR)

    def report(self, rows: JudgedRows) -> RegressionReport:
        """Root mean squared error and calibration."""
        return RegressionReport(
            rows=len(rows.labels),
            rmse=finite(rmse(rows.labels, rows.predictions)),
            calibration=finite(calibration(rows.labels, rows.predictions)),
        )


class RegressionTask(Task, RegressionLabel):
    """A head that predicts an amount."""

    kind: Literal["regression"]
    plausible: tuple[float, float] | None = Field(
        None,
        description="The least and the greatest label that is plausible; one beyond is counted, and learned "
        "as the bound, and a service sets it aside. By default 20 times the running 90th percentile of the "
        "labels that are not 0, at most 10^12. State it where feedback comes from outside: who gives many "
        "of the labels moves the default.",
    )

    @property
    def plausible_range(self) -> tuple[float, float] | None:
        """What the spec says."""
        return self.plausible

    @property
    def feedback_range(self) -> tuple[float, float]:
        """What the spec says is plausible, if it says so."""
        (least, greatest), (low, high) = self.value_range, self.plausible or self.value_range
        return max(low, least), min(high, greatest)

    @field_validator("plausible")
    @classmethod
    def _in_order(cls, plausible: tuple[float, float] | None) -> tuple[float, float] | None:
        if plausible is not None and plausible[0] >= plausible[1]:
            raise ValueError(f"expected the least and then the greatest label, found {list(plausible)}")
        return plausible
