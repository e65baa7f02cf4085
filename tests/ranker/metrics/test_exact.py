import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ranker.metrics.exact import auc, calibration, expected_auc, log_loss, rmse, squared_error

rows = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-3, 3), st.floats(0.1, 5)), min_size=2, max_size=30
).filter(lambda drawn: len({label for label, _, _ in drawn}) == 2)


@given(rows)
def test_auc_is_that_of_scikit_learn_with_and_without_weights(drawn: list[tuple[int, int, float]]) -> None:
    labels, scores, weights = np.array(drawn, dtype=float).T

    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    expected = roc_auc_score(labels, scores, sample_weight=weights)
    assert auc(labels, scores, weights) == pytest.approx(expected)


@given(rows)
def test_expected_auc_splits_every_row_into_a_positive_and_a_negative(
    drawn: list[tuple[int, int, float]],
) -> None:
    _, scores, p = np.array(drawn, dtype=float).T
    p = p / 6

    both = np.repeat([1.0, 0.0], len(p))
    expected = roc_auc_score(both, np.tile(scores, 2), sample_weight=np.concatenate([p, 1 - p]))
    assert expected_auc(p, scores) == pytest.approx(expected)


def test_expected_auc_of_certain_labels_is_auc() -> None:
    labels, scores = np.array([0.0, 1, 1, 0, 1]), np.array([0.3, 0.2, 0.9, 0.3, 0.3])

    assert expected_auc(labels, scores) == auc(labels, scores) == pytest.approx(3 / 6)  # 2 wins, 2 ties


@pytest.mark.parametrize("labels", [np.ones(3), np.zeros(3), np.empty(0)])
def test_auc_of_one_class_is_undefined(labels: np.ndarray) -> None:
    assert math.isnan(auc(labels, np.arange(len(labels), dtype=float)))


def test_a_nan_score_does_not_pass_for_a_high_one() -> None:
    assert math.isnan(auc(np.array([0.0, 1.0]), np.array([0.1, np.nan])))


def test_log_loss_is_the_mean_negative_log_likelihood() -> None:
    expected = -(math.log(0.8) + math.log(0.7)) / 2

    assert log_loss(np.array([1.0, 0.0]), np.array([0.8, 0.3])) == pytest.approx(expected)


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    assert log_loss(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(-math.log(1e-7))


def test_squared_error_and_its_root() -> None:
    labels, predictions = np.array([1.0, 2.0]), np.array([4.0, 6.0])

    assert squared_error(labels, predictions) == 12.5
    assert rmse(labels, predictions) == pytest.approx(math.sqrt(12.5))


def test_calibration_is_mean_prediction_over_mean_label() -> None:
    assert calibration(np.array([1.0, 0.0]), np.array([0.9, 0.6])) == pytest.approx(1.5)
    assert math.isnan(calibration(np.zeros(2), np.array([0.9, 0.6])))


@pytest.mark.parametrize("metric", [log_loss, squared_error, rmse, calibration])
def test_without_rows_a_metric_is_undefined(metric: object) -> None:
    assert callable(metric)
    assert math.isnan(metric(np.empty(0), np.empty(0)))
