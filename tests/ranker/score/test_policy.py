import numpy as np
import pytest

from ranker.errors import UnknownPolicyError
from ranker.score.policy import ScorePolicies, ScorePolicy
from ranker.score.product import ProductSpec
from ranker.score.terms import ScoreTerm
from ranker.score.weighted_sum import WeightedSumSpec
from ranker.spec_file import load_spec

TASKS = ["click", "like"]
CLICKS = ProductSpec(terms=(ScoreTerm(head="click"),))
LIKES = WeightedSumSpec(terms=(ScoreTerm(head="like", weight=2.0),))
PREDICTIONS = np.array([[0.9, 0.1], [0.5, 0.2], [0.7, 0.3]])


@pytest.fixture
def policies() -> ScorePolicies:
    return ScorePolicies(CLICKS, {"likes": LIKES}, TASKS)


def test_each_policy_has_its_own_order_of_the_same_predictions(policies: ScorePolicies) -> None:
    found = {policy.name: policy.score(PREDICTIONS).best().tolist() for policy in policies}

    assert found == {"default": [0, 2, 1], "likes": [2, 1, 0]}


def test_the_default_is_the_first_and_has_a_name_too(policies: ScorePolicies) -> None:
    assert [policy.name for policy in policies] == ["default", "likes"]
    assert policies.named("default") is policies.default
    assert policies.default.spec == CLICKS


def test_a_policy_has_the_version_of_its_score_whatever_its_name(policies: ScorePolicies) -> None:
    assert policies.named("likes").version == LIKES.version == ScorePolicy("other", LIKES, TASKS).version
    assert policies.default.version != policies.named("likes").version


@pytest.mark.parametrize("name", ["Likes", "", "x" * 500])
def test_an_unknown_policy_is_answered_with_the_names_there_are(policies: ScorePolicies, name: str) -> None:
    with pytest.raises(UnknownPolicyError) as error:
        policies.named(name)

    meant = "; did you mean 'likes'?" if name == "Likes" else ""
    expected = f"expected one of the score policies default, likes, found '{name[:40]}'{meant}"
    assert str(error.value) == expected


def test_the_best_are_no_more_than_the_limit(policies: ScorePolicies) -> None:
    assert policies.default.score(PREDICTIONS).best(2).tolist() == [0, 2]


def test_candidates_of_one_rank_key_stay_in_their_order(policies: ScorePolicies) -> None:
    same = np.array([[0.5, 0.0]] * 20 + [[0.6, 0.0]])

    assert policies.default.score(same).best().tolist() == [20, *range(20)]


def test_the_version_is_the_content_s() -> None:
    one = ProductSpec.model_validate({"terms": [{"head": "click", "weight": 1.0}]})
    same = ProductSpec.model_validate({"terms": [{"weight": 1, "head": "click"}], "combine": "product"})
    other = ProductSpec.model_validate({"terms": [{"head": "click", "weight": 1.5}]})

    assert one.version == same.version != other.version
    assert WeightedSumSpec(terms=one.terms).version != one.version
    assert len(one.version) == 12


@pytest.mark.parametrize(("preset", "version"), [("kuairand", "9c1d7e4a03ce"), ("simulated", "2dea640253fd")])
def test_the_presets_rank_by_the_score_they_always_had(preset: str, version: str) -> None:
    policies = load_spec(preset).score_policies()

    assert [(policy.name, policy.version) for policy in policies] == [("default", version)]
