import numpy as np
import pytest

from ranker.score.terms import ScoreTerm, Terms


@pytest.mark.parametrize("seconds", [-0.5, -1.0, -1e9])
def test_log1p_takes_a_negative_prediction_as_zero(seconds: float) -> None:
    terms = Terms([ScoreTerm(head="watch_time", transform="log1p", offset=2.0)], ["watch_time"])

    assert terms.bases(np.array([[seconds]])).tolist() == [[2.0]]


def test_terms_find_their_heads_whatever_the_order_of_the_tasks() -> None:
    terms = [ScoreTerm(head="like"), ScoreTerm(head="click", weight=10)]
    straight, turned = Terms(terms, ["click", "rating", "like"]), Terms(terms, ["like", "rating", "click"])
    predictions = np.array([[0.5, 3.0, 0.25]])

    assert straight.heads == ("like", "click")
    assert straight.weight_k.tolist() == [1.0, 10.0]
    assert straight.bases(predictions).tolist() == [[0.25, 0.5]]
    np.testing.assert_array_equal(turned.bases(predictions[:, ::-1]), straight.bases(predictions))
