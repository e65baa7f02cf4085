import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.errors import CheckpointError
from ranker.metrics.binary_sums import BinarySums
from ranker.metrics.exact import auc, calibration, log_loss, rmse
from ranker.metrics.regression_sums import RegressionSums
from ranker.metrics.streaming import MetricSums, StreamingMetrics

KINDS: dict[str, type[MetricSums]] = {"click": BinarySums, "watch_time": RegressionSums, "like": BinarySums}


def batch(rows: int, seed: int, missing: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and labels of the three heads, some labels missing."""
    random = np.random.default_rng(seed)
    logit = random.normal(size=(rows, 3)) - [0, 0, 3]
    predictions = 1 / (1 + np.exp(-logit))
    labels = (random.random((rows, 3)) < 1 / (1 + np.exp(-1.5 * logit))).astype(float)
    predictions[:, 1], labels[:, 1] = np.exp(logit[:, 1]), random.exponential(size=rows)
    labels[random.random((rows, 3)) < missing] = np.nan
    return predictions, labels


def named(metrics: StreamingMetrics, head: str) -> dict[str, float]:
    return dict(zip(metrics.metrics, metrics.result()[list(KINDS).index(head)], strict=True))


def test_the_sums_give_the_exact_metrics_of_the_present_labels() -> None:
    predictions, labels = batch(5000, seed=1)
    metrics = StreamingMetrics(KINDS)
    for part in range(0, 5000, 700):
        metrics.update(predictions[part : part + 700], labels[part : part + 700])

    for index, head in enumerate(KINDS):
        present = ~np.isnan(labels[:, index])
        label, prediction = labels[present, index], predictions[present, index]
        found = named(metrics, head)
        assert found["rows"] == present.sum()
        assert found["calibration"] == pytest.approx(calibration(label, prediction))
        if KINDS[head] is BinarySums:
            assert found["positives"] == label.sum()
            assert found["log_loss"] == pytest.approx(log_loss(label, prediction))
            assert found["auc"] == pytest.approx(auc(label, prediction), abs=1e-3)
        else:
            assert found["rmse"] == pytest.approx(rmse(label, prediction))


def test_metrics_of_the_other_kind_are_undefined() -> None:
    metrics = StreamingMetrics(KINDS)
    metrics.update(*batch(100, seed=1))

    assert {n for n, v in named(metrics, "click").items() if np.isnan(v)} == {"rmse"}
    assert {n for n, v in named(metrics, "watch_time").items() if np.isnan(v)} == {
        "positives",
        "auc",
        "log_loss",
    }


@given(st.integers(0, 2**32), st.sampled_from([0.001, 0.1, 1.0, 4.0, 20.0]))
def test_auc_is_off_by_at_most_half_the_pairs_that_share_a_bin(seed: int, spread: float) -> None:
    random = np.random.default_rng(seed)
    logit = random.normal(scale=spread, size=400)
    p = 1 / (1 + np.exp(-logit))
    labels = (random.random(400) < 0.3).astype(float)
    metrics = StreamingMetrics({"click": BinarySums})
    metrics.update(p[:, None], labels[:, None])

    width = 24 / 4095
    near = np.abs(np.clip(logit[:, None], -12, 12) - np.clip(logit, -12, 12)) <= width
    sharing = labels @ near @ (1 - labels) / (labels.sum() * (1 - labels).sum())

    found = dict(zip(metrics.metrics, metrics.result()[0], strict=True))["auc"]
    assert abs(found - auc(labels, p)) <= sharing / 2 + 1e-12


def test_merging_is_having_seen_all_rows() -> None:
    one, other, both = (StreamingMetrics(KINDS) for _ in range(3))
    for metrics, seed in ((one, 1), (other, 2)):
        metrics.update(*batch(300, seed))
        both.update(*batch(300, seed))
    one.merge(other)

    np.testing.assert_allclose(one.result(), both.result(), rtol=1e-12)


def test_without_rows_everything_but_the_counts_is_undefined() -> None:
    metrics = StreamingMetrics(KINDS)
    metrics.update(np.full((4, 3), 0.5), np.full((4, 3), np.nan))

    assert named(metrics, "click")["rows"] == named(metrics, "click")["positives"] == 0
    assert np.isnan(metrics.result()[:, [n not in metrics.counts for n in metrics.metrics]]).all()


@pytest.mark.parametrize("extreme", [0.0, 1.0, 1e-300])
def test_certain_predictions_are_counted_at_the_edge(extreme: float) -> None:
    metrics = StreamingMetrics({"click": BinarySums})
    metrics.update(np.array([[extreme], [extreme]]), np.array([[0.0], [1.0]]))

    assert named_first(metrics)["auc"] == 0.5
    assert np.isfinite(named_first(metrics)["log_loss"])


def test_a_nan_prediction_shows_in_its_head_only() -> None:
    predictions, labels = batch(50, seed=1, missing=0)
    predictions[3, 0] = np.nan
    metrics = StreamingMetrics(KINDS)
    metrics.update(predictions, labels)

    assert np.isnan(named(metrics, "click")["log_loss"])
    assert np.isfinite(named(metrics, "like")["log_loss"])


def test_float32_predictions_are_welcome() -> None:
    predictions, labels = batch(500, seed=1)
    wide, narrow = StreamingMetrics(KINDS), StreamingMetrics(KINDS)
    wide.update(predictions, labels)
    narrow.update(predictions.astype(np.float32), labels.astype(np.float32))

    np.testing.assert_allclose(narrow.result(), wide.result(), rtol=1e-4)


def test_a_state_of_other_heads_is_refused() -> None:
    state = StreamingMetrics({"click": BinarySums}).state_dict()

    with pytest.raises(CheckpointError, match=r"'0.rows': expected int64 \(2,\), found int64 \(1,\)"):
        StreamingMetrics(KINDS).load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"'0.rows': expected .* found none"):
        StreamingMetrics(KINDS).load_state_dict({})


def named_first(metrics: StreamingMetrics) -> dict[str, float]:
    return dict(zip(metrics.metrics, metrics.result()[0], strict=True))
