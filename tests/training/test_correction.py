import numpy as np
import pytest

from ranker.labels.binary import BinaryTask
from ranker.labels.regression import RegressionTask
from training.correction import MeanCorrection

TASKS = (
    BinaryTask(name="click", group="engagement", kind="binary"),
    RegressionTask(name="watch_time", group="engagement", kind="regression", transform="log1p", unit="s"),
    RegressionTask(name="rating", group="satisfaction", kind="regression"),
)
HOUR_MS = 3_600_000
DRAW = np.random.default_rng(0)


def rows(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of heads that are off, and labels."""
    logit, log_s, stars = DRAW.normal(-2, 1, count), DRAW.normal(2, 0.5, count), DRAW.normal(3, 0.5, count)
    seconds = np.expm1(np.maximum(log_s + DRAW.normal(0, 1.2, count), 0))
    labels = np.stack([DRAW.random(count) < 1 / (1 + np.exp(-logit)), seconds, stars + 0.7], axis=1)
    return np.stack([logit + 0.2, log_s, stars], axis=1), labels.astype(np.float32)


def natural(outputs: np.ndarray) -> np.ndarray:
    return np.stack([1 / (1 + np.exp(-outputs[:, 0])), np.expm1(outputs[:, 1]), outputs[:, 2]], axis=1)


def test_shifted_outputs_have_the_mean_of_the_labels_on_rows_that_were_not_seen() -> None:
    correction = MeanCorrection(TASKS, half_life_s=86_400)
    for hour in range(10):
        outputs, labels = rows(5_000)
        correction.update(natural(outputs), labels, hour * HOUR_MS)

    outputs, labels = rows(50_000)
    before = natural(outputs).mean(axis=0) / labels.mean(axis=0)
    after = natural(outputs + correction.shifts()).mean(axis=0) / labels.mean(axis=0)

    assert (np.abs(before - 1) > 0.1).all()
    np.testing.assert_allclose(after, 1, atol=0.03)


@pytest.mark.parametrize(("predicted", "rate"), [(0.01, 0.03), (0.01, 0.06), (0.05, 0.01), (0.5, 0.9)])
def test_a_head_that_predicts_a_constant_is_brought_to_the_rate_and_not_past_it(
    predicted: float, rate: float
) -> None:
    correction, count = MeanCorrection(TASKS[:1], half_life_s=86_400), 100_000
    labels = (np.arange(count) < rate * count).astype(np.float32)[:, None]
    correction.update(np.full((count, 1), predicted), labels, HOUR_MS)

    logit = np.log(predicted / (1 - predicted)) + correction.shifts()[0]
    assert 1 / (1 + np.exp(-logit)) == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_row_of_any_weight_shifts_by_a_finite_logit(label: float) -> None:
    correction = MeanCorrection(TASKS[:1], half_life_s=3600)
    correction.update(
        np.full((2, 1), 0.5),
        np.array([[label], [1 - label]], np.float32),
        HOUR_MS,
        np.array([3e38, 1], np.float32),
    )

    assert np.isfinite(correction.shifts()).all()


def test_an_example_counts_by_its_weight() -> None:
    weighed, repeated = MeanCorrection(TASKS, 3600), MeanCorrection(TASKS, 3600)
    outputs, labels = rows(50)
    labels[3, 1] = np.nan
    weights = DRAW.integers(0, 4, 50)
    again = np.repeat(np.arange(50), weights)
    weighed.update(natural(outputs), labels, HOUR_MS, weights.astype(np.float32))
    repeated.update(natural(outputs)[again], labels[again], HOUR_MS)

    np.testing.assert_allclose(weighed.shifts(), repeated.shifts())


def test_newer_rows_weigh_more() -> None:
    correction = MeanCorrection(TASKS, half_life_s=3600)
    one, two = np.full((1, 3), 0.5), np.full((1, 3), np.nan, np.float32)
    two[0, 2] = 1.5
    correction.update(one, two, 0)
    two[0, 2] = 3.5
    correction.update(one, two, 2 * HOUR_MS)

    assert correction.shifts()[2] == pytest.approx((0.25 * 1 + 3) / 1.25)


def test_without_labels_nothing_is_shifted() -> None:
    correction = MeanCorrection(TASKS, half_life_s=3600)
    correction.update(np.full((4, 3), 0.5), np.full((4, 3), np.nan, np.float32), HOUR_MS)

    np.testing.assert_array_equal(correction.shifts(), 0)


def test_a_saved_state_goes_on() -> None:
    correction, resumed = MeanCorrection(TASKS, 3600), MeanCorrection(TASKS, 3600)
    outputs, labels = rows(100)
    correction.update(natural(outputs), labels, HOUR_MS)
    resumed.load_state_dict(correction.state_dict())
    for each in (correction, resumed):
        each.update(natural(outputs), labels, 3 * HOUR_MS)

    np.testing.assert_array_equal(resumed.shifts(), correction.shifts())
