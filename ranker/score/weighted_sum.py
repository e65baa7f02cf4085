"""The weighted sum: sum_k weight_k * (offset_k + transform_k(prediction_k)).

Shape letters: C candidates, K terms of the score.
"""

from typing import ClassVar, Literal

from pydantic import Field

from ranker.score.base import ScoreSpec
from ranker.score.terms import Floats


class WeightedSumSpec(ScoreSpec):
    """A weighted sum: each term is a summand, and the rank key is the score."""

    contributions_are: ClassVar = "parts of the score"

    combine: Literal["sum"] = Field(
        "sum", description="The sum of weight * (offset + transform(prediction))."
    )

    def contributions(self, weight_k: Floats, base_ck: Floats) -> Floats:
        """See `ScoreSpec`."""
        return weight_k * base_ck

    def score(self, rank_key_c: Floats) -> Floats:
        """See `ScoreSpec`."""
        return rank_key_c
