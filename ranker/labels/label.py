"""What every kind of label says: the part of a spec, and all that follows from the kind.

A kind's methods treat the columns of labels that are alike (see `Label.treatment`) at once.

Shape letters: B rows, K labels that are alike, N rows with a label.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, model_validator
from torch import Tensor

from ranker.labels.head_report import HeadReport, JudgedRows
from ranker.metrics.streaming import MetricSums
from ranker.spec_model import Duration, Name, SpecModel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Means:
    """Decayed sums over rows that were predicted before they were learned from, each (K,) float64.

    Attributes:
        weight: Of the rows' weights.
        label: Of the labels.
        prediction: Of the predictions, in the labels' unit.
        slope: Of how far each prediction answers to a shift, see `Label.slope`.
    """

    weight: Floats
    label: Floats
    prediction: Floats
    slope: Floats


class Label(SpecModel, ABC):
    """What a viewer did with an impression, as a number.

    Attributes:
        is_probability: Whether labels are 0 or 1 and predictions the chance of a 1: then the state counts
            odds, and heads have an AUC.
        sums: The class of the streaming metrics of heads of this kind.
        loss_metric: Name of the metric that training makes small.
    """

    renamed_keys: ClassVar = {"label": "column"}
    is_probability: ClassVar[bool] = False
    sums: ClassVar[type[MetricSums]]
    loss_metric: ClassVar[str]

    name: Name = Field(description="Unique name.")
    kind: str
    column: Name | None = Field(None, description="The records' column with the label; the name by default.")
    unit: str | None = Field(None, description="Unit of the label, e.g. s or stars.")
    label_wait: Duration = Field(
        0.0,
        description="Time after an impression at which its label counts as known, to features of the state "
        "and to the weights: as long as viewers take to give it.",
    )
    several: Literal["last", "sum", "max"] = Field(
        "last", description="What counts if feedback on an impression comes several times."
    )
    if_absent: Literal["zero", "missing"] | None = Field(
        None,
        description="What the label is if no feedback comes within its wait; by default zero for binary "
        "labels, missing for others.",
    )

    @property
    def absent_value(self) -> float:
        """The label of an impression without feedback: 0, or NaN if it is missing then."""
        if self.if_absent is None:
            return 0.0 if self.is_probability else math.nan
        return 0.0 if self.if_absent == "zero" else math.nan

    @property
    def source_column(self) -> str:
        """The records' column that holds the label."""
        return self.column or self.name

    @property
    def treatment(self) -> tuple[object, ...]:
        """What decides how a label is treated: labels with one treatment are computed together."""
        return (self.kind,)

    @property
    @abstractmethod
    def value_range(self) -> tuple[float, float]:
        """The least and the greatest value that the label may have; infinite ones are refused anyway."""

    @property
    def feedback_range(self) -> tuple[float, float]:
        """The least and the greatest value that a service takes as feedback; `value_range` by default."""
        return self.value_range

    @property
    def learns_mean(self) -> bool:
        """Whether a head of it is fitted to the mean of its labels; one of transformed labels misses it."""
        return True

    @property
    def remark(self) -> str:
        """What a reader of progressive metrics has to know of heads of this kind; empty for nothing."""
        return ""

    def loss_text(self, loss: float) -> str:
        """The value of `loss_metric` for a table, with its unit."""
        return f"{loss:.4f}"

    def learned(self, labels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Labels as features of the state count them: a rising function.

        Args:
            labels: Of any shape, in natural units, NaN where missing.
        """
        return labels

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of every output.

        Args:
            outputs: (B, K) float32 of the network; columns of other labels may stand among them.
            labels: (B, K) float32 in natural units; where one is missing, any valid label.

        Returns:
            (B, K), at least 0; of no meaning for other labels.
        """

    def row_losses(self, labels: Floats, predictions: Floats) -> Floats:
        """The loss of predictions, row by row, by which two models are compared; squared error by default.

        Args:
            labels: (N,) in natural units, none missing.
            predictions: (N,) in natural units.
        """
        return np.square(predictions - labels)

    def target(self, labels: Tensor) -> Tensor:
        """What outputs are compared with; the labels by default.

        Args:
            labels: (B, K) float32 in natural units, NaN where missing.
        """
        return labels

    @abstractmethod
    def base_outputs(self, total: Tensor, count: Tensor) -> Tensor:
        """The constant outputs that fit some targets best.

        Args:
            total: (K,) float32, the weighted sum of the targets that are not missing.
            count: (K,) float32, the sum of their weights.

        Returns:
            (K,); anything where all are missing.
        """

    @abstractmethod
    def natural_units(self, outputs: Tensor) -> Tensor:
        """Predictions in the label's unit.

        Args:
            outputs: (B, K) float64 of the network.
        """

    def slope(self, predictions: Floats) -> Floats:
        """How far each prediction answers to a shift, for kinds whose `shift` uses it; 1 by default.

        Args:
            predictions: (B, K) in natural units.
        """
        return np.ones_like(predictions)

    @abstractmethod
    def shift(self, means: Means) -> Floats:
        """What to add to the outputs so that the mean prediction is near the mean label.

        Args:
            means: Of recent rows.

        Returns:
            (K,) in the outputs' unit; anything where no row has a label.
        """

    @abstractmethod
    def report(self, rows: JudgedRows) -> HeadReport:
        """Exact metrics of a head on rows that it has not learned from.

        Args:
            rows: Those with a label.
        """


class Task(Label):
    """One thing to predict: a label with a head of the network, which gives one output a row."""

    group: Literal["engagement", "satisfaction"]
    weight: NonNegativeFloat = Field(1.0, description="Weight of the head's loss.")
    position_bias: bool = Field(
        False, description="Add the position tower's output to this head in training."
    )
    late: Literal["wait", "importance"] = Field(
        "wait",
        description="What is learned of a row while a wait beyond `late_after` lasts: nothing, or that the "
        "label is 0 so far, weighted so that the labels of 1 that come later make up for it; for binary "
        "labels that are 0 without feedback.",
    )

    @model_validator(mode="after")
    def _may_be_learned_early(self) -> Self:
        if self.late == "importance" and not (self.is_probability and self.absent_value == 0):
            raise ValueError(
                "expected late: importance of a binary label that is 0 without feedback, found "
                f"kind: {self.kind}, if_absent: {self.if_absent}"
            )
        return self

    @property
    def plausible_range(self) -> tuple[float, float] | None:
        """The least and the greatest label that is learned as it is; None to follow the stream.

        By default `value_range`, where that has two ends.
        """
        return self.value_range if all(map(math.isfinite, self.value_range)) else None


JOIN_KEYS: Final = frozenset({"several", "if_absent"})
"""What a spec says of how a label is made of feedback that arrives by itself."""
HEAD_KEYS: Final = frozenset(Task.model_fields) - frozenset(Label.model_fields) | {"plausible"}
"""What a spec says of a head, and not of its label; `plausible` of a regression alone."""


def alike(labels: Sequence[Label]) -> Iterator[tuple[Label, list[int]]]:
    """Group labels by their treatment.

    Args:
        labels: In the order of some columns.

    Yields:
        One label of each group, and the columns of the whole group.
    """
    columns: dict[tuple[object, ...], list[int]] = {}
    for index, label in enumerate(labels):
        columns.setdefault(label.treatment, []).append(index)
    for group in columns.values():
        yield labels[group[0]], group
