"""The terms of a score, and their arithmetic, which every way of combining them shares.

Shape letters: C candidates, T tasks, K terms of the score.
"""

from collections.abc import Sequence
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, model_validator

from ranker.spec_model import Name, SpecModel

Floats = NDArray[np.float64]

PROBABILITY_FLOOR: Final = 1e-7
"""Probabilities are kept this far from 0 and 1 before a logit."""
LIMIT: Final = 1e100
"""Greatest size of a transformed prediction and of a contribution: their sum stays finite."""


class ScoreTerm(SpecModel):
    """One head's part in the score."""

    head: Name = Field(description="The task whose prediction is used.")
    weight: float = Field(1.0, description="Power (product) or factor (sum); negative to push down.")
    offset: float = Field(0.0, description="Added after the transform.")
    transform: Literal["identity", "log1p", "clip", "logit", "divide"] = Field("identity")
    low: float = Field(0.0, description="clip: the least value.")
    high: float | None = Field(None, description="clip: the greatest value.")
    scale: PositiveFloat = Field(1.0, description="divide: the divisor, in the prediction's unit.")

    @model_validator(mode="after")
    def _clip_has_bounds(self) -> Self:
        if self.transform == "clip" and (self.high is None or self.high <= self.low):
            raise ValueError(
                f"term '{self.head}': clip expects 'high' above 'low', found low {self.low}, high {self.high}"
            )
        return self


class Terms:
    """The terms of a score, ready to be computed for all candidates at once.

    Args:
        terms: The K terms; their heads are among the tasks.
        tasks: Names of the T tasks, in the order of the predictions' columns.

    Attributes:
        heads: The K heads.
        weight_k: (K,) the terms' weights.
    """

    def __init__(self, terms: Sequence[ScoreTerm], tasks: Sequence[str]) -> None:
        self.heads = tuple(term.head for term in terms)
        self.weight_k = np.array([term.weight for term in terms])
        self._columns = np.array([tasks.index(head) for head in self.heads])
        self._offset = np.array([term.offset for term in terms])
        self._scale = np.array([term.scale if term.transform == "divide" else 1.0 for term in terms])
        self._low, self._high = np.array([_bounds(term) for term in terms]).T
        self._log1p = np.array([term.transform == "log1p" for term in terms])
        self._logit = np.array([term.transform == "logit" for term in terms])

    def bases(self, predictions: Floats) -> Floats:
        """Compute offset + transform(prediction) of every term.

        Args:
            predictions: (C, T) finite, in natural units, in the tasks' order.

        Returns:
            (C, K), finite: transformed predictions are at most `LIMIT` in size.
        """
        x_ck = np.clip(predictions.take(self._columns, axis=1) / self._scale, self._low, self._high)
        np.log1p(x_ck, out=x_ck, where=self._log1p)
        p = x_ck[:, self._logit]
        x_ck[:, self._logit] = np.log(p / (1 - p))
        base_ck: Floats = self._offset + x_ck
        return base_ck


def _bounds(term: ScoreTerm) -> tuple[float, float]:
    """Where a term's prediction is clipped before its transform."""
    match term.transform:
        case "clip":
            assert term.high is not None  # the spec checked it
            return max(term.low, -LIMIT), min(term.high, LIMIT)
        case "logit":
            return PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR
        case "log1p":
            return 0.0, LIMIT  # a count or a duration; a regression head can predict a little below 0
        case _:
            return -LIMIT, LIMIT
