"""The ranking score: head predictions combined by weights.

The paper's form is a weighted product, prod_k (offset_k + transform_k(prediction_k))^weight_k, computed as
a sum of logarithms so that nothing overflows; a weighted sum is the other form. Both are one expression
over all candidates, and a candidate's score never depends on the others.

Source: Zhao et al., RecSys 2019, section 4.2, https://doi.org/10.1145/3298689.3346997.

Shape letters: C candidates, T tasks, K terms of the score.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.labels.label import Task
from ranker.score.score_spec import ScoreSpec, ScoreTerm

Floats = NDArray[np.float64]

BASE_FLOOR: Final = 1e-12
"""Least base of a product: its logarithm and its negative powers stay finite."""
PROBABILITY_FLOOR: Final = 1e-7
"""Probabilities are kept this far from 0 and 1 before a logit."""
LIMIT: Final = 1e100
"""Greatest size of a transformed prediction and of a contribution: their sum stays finite."""
LOG_SCORE_LIMIT: Final = 700.0
"""Greatest size of a log score before `exp`, which overflows at 709."""


@dataclass(frozen=True)
class Scored:
    """The scores of some candidates, in their order.

    Attributes:
        score: (C,) the score, always finite.
        rank_key: (C,) what to sort by, greatest first: the log score of a product, which tells candidates
            apart where the score itself has reached its limit, and the score of a sum.
        contributions: (C, K) each term's part; they add up to the rank key.
        heads: The K heads, in the order of the contributions.
    """

    score: Floats
    rank_key: Floats
    contributions: Floats
    heads: tuple[str, ...]


class ScoreFormula:
    """A score spec, ready to be applied to predictions.

    Args:
        spec: The terms and how they are combined; its heads are among the tasks.
        tasks: The T tasks, in the order of the predictions' columns.
    """

    def __init__(self, spec: ScoreSpec, tasks: Sequence[Task]) -> None:
        self.heads = tuple(term.head for term in spec.terms)
        self.version = score_version(spec)
        column = {task.name: index for index, task in enumerate(tasks)}
        self._columns = np.array([column[head] for head in self.heads])
        self._product = spec.combine == "product"
        self._weight = np.array([term.weight for term in spec.terms])
        self._offset = np.array([term.offset for term in spec.terms])
        self._scale = np.array([term.scale if term.transform == "divide" else 1.0 for term in spec.terms])
        self._low, self._high = np.array([_bounds(term) for term in spec.terms]).T
        self._log1p = np.array([term.transform == "log1p" for term in spec.terms])
        self._logit = np.array([term.transform == "logit" for term in spec.terms])

    def score(self, predictions: Floats) -> Scored:
        """Score candidates.

        Args:
            predictions: (C, T) finite, in natural units, in the tasks' order.
        """
        with np.errstate(over="ignore"):  # what overflows is clipped in the same line
            x_ck = np.clip(predictions.take(self._columns, axis=1) / self._scale, self._low, self._high)
            np.log1p(x_ck, out=x_ck, where=self._log1p)
            p = x_ck[:, self._logit]
            x_ck[:, self._logit] = np.log(p / (1 - p))
            base_ck = self._offset + x_ck
            if self._product:
                base_ck = np.log(np.maximum(base_ck, BASE_FLOOR))
            contributions = np.clip(self._weight * base_ck, -LIMIT, LIMIT)
        rank_key = contributions.sum(axis=1)
        score = np.exp(np.clip(rank_key, -LOG_SCORE_LIMIT, LOG_SCORE_LIMIT)) if self._product else rank_key
        return Scored(score, rank_key, contributions, self.heads)


def score_version(spec: ScoreSpec) -> str:
    """Name a score spec by its content: the first 12 hex digits of the SHA-256 of its canonical JSON."""
    canonical = json.dumps(spec.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


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
