import numpy as np
import pytest

from ranker.errors import InvalidRequestError
from serving.ranked_list import chosen_policy, ranked_items, ranked_order
from serving.requests import RankRequest
from tests.serving.small_ranker import SPEC

POLICIES = SPEC.score_policies()
TASKS = ["click", "watch_time", "like"]
PREDICTIONS = np.array([[0.9, 10.0, 0.1], [0.5, 10.0, 0.3], [0.7, 10.0, 0.2]])


def body(**changes):
    candidates = [{"id": name} for name in "abc"]
    return RankRequest.model_validate({"user": {"id": "u"}, "candidates": candidates, **changes})


@pytest.mark.parametrize("asked", [{}, {"policy": None}])
def test_without_a_policy_the_default_one_is_chosen(asked):
    assert chosen_policy(POLICIES, body(**asked)).name == "default"


@pytest.mark.parametrize("name", ["default", "likes"])
def test_the_policy_that_is_named_is_chosen(name):
    assert chosen_policy(POLICIES, body(policy=name)).name == name


def test_an_unknown_policy_is_a_mistake_at_its_place():
    with pytest.raises(InvalidRequestError) as error:
        chosen_policy(POLICIES, body(policy="dislikes"))

    assert error.value.mistakes == [
        (
            "/policy",
            "expected one of the score policies default, likes, found 'dislikes'; did you mean 'likes'?",
        )
    ]


def items(policy, **asked):
    request = body(**asked)
    order = ranked_order(request, PREDICTIONS, POLICIES.named(policy))
    return ranked_items(request, TASKS, PREDICTIONS, order)


def test_the_same_predictions_are_in_the_order_of_the_policy():
    found = {policy: items(policy) for policy in ("default", "likes")}

    assert [item["id"] for item in found["default"]] == ["c", "b", "a"]
    assert [item["id"] for item in found["likes"]] == ["b", "c", "a"]


def test_limit_is_how_many_of_the_best_are_given():
    assert items("likes", limit=2) == items("likes")[:2]


def test_an_item_has_the_policys_score_and_contributions_and_the_models_predictions():
    [best] = items("likes", limit=1, explain=True)

    assert best == {
        "id": "b",
        "position": 1,
        "score": 0.3,
        "predictions": {"click": 0.5, "watch_time": 10.0, "like": 0.3},
        "contributions": {"like": 0.3},
    }


def test_contributions_are_given_only_when_asked_for():
    assert "contributions" not in items("default")[0]
