import math
from typing import ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from ranker.score.product import ProductSpec
from ranker.score.terms import ScoreTerm
from tests.ranker.score.score_contract import ScoreContract, policy, row


class TestProduct(ScoreContract):
    kind = ProductSpec
    versions: ClassVar = {
        "8b528e1bbcbe": {"terms": [{"head": "click"}]},
        "4639f327a434": {
            "combine": "product",
            "terms": [
                {"head": "click", "weight": 0.5, "offset": 0.1},
                {"head": "watch_time", "weight": 2.0, "offset": 1.0, "transform": "log1p"},
                {"head": "dismiss", "weight": -3.0, "offset": 1.0},
            ],
        },
    }

    @staticmethod
    def naive_score(parts: list[tuple[float, float]]) -> float:
        return math.prod(max(base, 1e-12) ** weight for weight, base in parts)


def test_the_product_of_the_paper() -> None:
    spec = ProductSpec(
        terms=(
            ScoreTerm(head="click", weight=0.5, offset=0.1),
            ScoreTerm(head="watch_time", weight=2.0, offset=1.0, transform="log1p"),
            ScoreTerm(head="dismiss", weight=-3.0, offset=1.0),
        )
    )
    scored = policy(spec).score(row(click=0.3, watch_time=20.0, dismiss=0.02))

    assert scored.score[0] == pytest.approx(0.4**0.5 * (1 + math.log(21)) ** 2 / 1.02**3)
    assert scored.contributions[0, 0] == pytest.approx(0.5 * math.log(0.4))
    assert scored.rank_key[0] == pytest.approx(math.log(scored.score[0]))


def test_the_rank_key_tells_candidates_apart_beyond_the_score_s_limit() -> None:
    spec = ProductSpec(terms=(ScoreTerm(head="watch_time", weight=200.0),))
    scored = policy(spec).score(np.concatenate([row(watch_time=1e3), row(watch_time=1e4)]))

    assert scored.score[0] == scored.score[1]
    assert scored.rank_key[0] < scored.rank_key[1]


def test_a_head_that_predicts_zero_keeps_a_negative_power_finite() -> None:
    spec = ProductSpec(terms=(ScoreTerm(head="dismiss", weight=-1.0),))

    assert policy(spec).score(row(dismiss=0.0)).score[0] == pytest.approx(1e12)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (
            ScoreTerm(head="click", transform="logit"),
            "term 'click': a logit can be negative, and product expects positive bases",
        ),
        (ScoreTerm(head="like", offset=-1), r"term 'like': product expects offset >= 0, found -1\.0"),
    ],
)
def test_a_base_that_can_be_negative_is_refused(term: ScoreTerm, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ProductSpec(terms=(ScoreTerm(head="watch_time"), term))
