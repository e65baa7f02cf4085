"""The weighted product of the paper.

prod_k (offset_k + transform_k(prediction_k))^weight_k, computed as a sum of logarithms so that nothing
overflows.

Source: Zhao et al., RecSys 2019, section 4.2, https://doi.org/10.1145/3298689.3346997.

Shape letters: C candidates, K terms of the score.
"""

from typing import ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from ranker.score.base import ScoreSpec
from ranker.score.terms import Floats, ScoreTerm

BASE_FLOOR: Final = 1e-12
"""Least base of a product: its logarithm and its negative powers stay finite."""
LOG_SCORE_LIMIT: Final = 700.0
"""Greatest size of a log score before `exp`, which overflows at 709."""


class ProductSpec(ScoreSpec):
    """A weighted product: each term is a power.

    Its rank key is the logarithm of the score, which tells candidates apart where the score itself has
    reached its limit.
    """

    contributions_are: ClassVar = "parts of the logarithm of the score"

    combine: Literal["product"] = Field(
        "product", description="The product of (offset + transform(prediction))^weight."
    )

    def contributions(self, weight_k: Floats, base_ck: Floats) -> Floats:
        """See `ScoreSpec`."""
        contribution_ck: Floats = weight_k * np.log(np.maximum(base_ck, BASE_FLOOR))
        return contribution_ck

    def score(self, rank_key_c: Floats) -> Floats:
        """See `ScoreSpec`."""
        score_c: Floats = np.exp(np.clip(rank_key_c, -LOG_SCORE_LIMIT, LOG_SCORE_LIMIT))
        return score_c

    def check_term(self, term: ScoreTerm) -> None:
        """Refuse terms whose base may be negative; see `ScoreSpec`."""
        if term.transform == "logit":
            raise ValueError(
                f"term '{term.head}': a logit can be negative, and product expects positive bases; "
                "use combine: sum or another transform"
            )
        if term.offset < 0:
            raise ValueError(f"term '{term.head}': product expects offset >= 0, found {term.offset}")
