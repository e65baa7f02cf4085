"""How good a head is on rows that it has not learned from.

Shape letter: N rows with a label.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Floats = NDArray[np.float64]
Pair = tuple[float, float]


@dataclass(frozen=True)
class JudgedRows:
    """The rows that a head is judged on.

    Attributes:
        labels: (N,) in natural units.
        predictions: (N,) in natural units.
        viewers: (N,) ids or numbers of the viewers: rows of one viewer are drawn together for intervals.
        baseline: (N,) scores of another ranker to compare with; None for no comparison.
        replicates: How many times viewers are drawn for an interval.
    """

    labels: Floats
    predictions: Floats
    viewers: NDArray[Any]
    baseline: Floats | None
    replicates: int


class HeadReport(BaseModel, ABC):
    """What every kind of head is judged by; None where undefined, unset where not of the head's kind.

    Attributes:
        rows: Rows with a label.
        calibration: Mean prediction over mean label.
        auc: Area under the ROC curve, for labels of 0 or 1.
        auc_ci: Its 95 % interval over viewers.
        no_interval: Why a head of labels of 0 or 1 has no intervals; unset if it has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    calibration: float | None
    auc: float | None = None
    auc_ci: Pair | None = None
    no_interval: str | None = None

    @property
    @abstractmethod
    def loss_text(self) -> str:
        """The figure that training makes small, for a table; empty if it is undefined."""


def finite(value: float) -> float | None:
    """A figure for a report: None if it is undefined."""
    return float(value) if np.isfinite(value) else None
