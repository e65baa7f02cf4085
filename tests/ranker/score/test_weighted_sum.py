from typing import ClassVar

from ranker.score.terms import ScoreTerm
from ranker.score.weighted_sum import WeightedSumSpec
from tests.ranker.score.score_contract import ScoreContract, policy, row


class TestWeightedSum(ScoreContract):
    kind = WeightedSumSpec
    versions: ClassVar = {
        "ea4d7bd60805": {
            "combine": "sum",
            "terms": [
                {"head": "click", "transform": "logit", "weight": 2},
                {"head": "watch_time", "transform": "clip", "low": 1, "high": 60},
                {"head": "like", "transform": "divide", "scale": 4},
            ],
        },
    }

    @staticmethod
    def naive_score(parts: list[tuple[float, float]]) -> float:
        return sum(weight * base for weight, base in parts)


def test_what_a_product_refuses_is_no_mistake_in_a_sum() -> None:
    spec = WeightedSumSpec(
        terms=(ScoreTerm(head="click", transform="logit"), ScoreTerm(head="like", weight=2, offset=-1))
    )

    assert policy(spec).score(row(click=0.5, like=0.25)).score[0] == 2 * (0.25 - 1)
