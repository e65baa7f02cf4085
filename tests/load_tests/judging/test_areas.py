import numpy as np
import pytest

from load_tests.judging.areas import Areas
from load_tests.judging.log import Truth
from ranker.metrics.exact import auc
from ranker.metrics.intervals import drawn_interval, number_viewers
from ranker.metrics.weighted_auc import WeightedAuc

ROWS, REPLICATES = 600, 40
RANDOM = np.random.default_rng(0)
LABELS = (RANDOM.random((ROWS, 1)) < 0.3).astype(np.float32)
LABELS[::17] = np.nan
VIEWERS = RANDOM.integers(0, 50, ROWS)
DAY = np.repeat([0, 1, 2], ROWS // 3)
LABEL = LABELS[:, 0].astype(np.float64)
KNOWN = ~np.isnan(LABEL)


def scores(seeds: int, strength: float) -> np.ndarray:
    return RANDOM.normal(size=(seeds, ROWS)) + strength * np.nan_to_num(LABEL)


OURS, THEIRS = scores(3, 1.0), scores(1, 0.5)


@pytest.fixture(scope="module")
def areas() -> Areas:
    shifted = OURS + np.array([0.0, 100.0, -100.0])[DAY]
    contenders = {"ours": OURS, "theirs": THEIRS, "ours again": OURS.copy(), "shifted": shifted}
    return Areas(Truth(LABELS, VIEWERS, DAY), 0, contenders, REPLICATES)


def day_auc(of_seed: np.ndarray, day: int) -> float:
    rows = KNOWN & (day == DAY)
    return auc(LABEL[rows], of_seed[rows])


def test_the_area_of_several_days_and_seeds_is_the_mean_of_each(areas: Areas) -> None:
    found = areas.gain("ours", "theirs")

    ours = [[day_auc(of_seed, day) for day in range(3)] for of_seed in OURS]
    theirs = [day_auc(THEIRS[0], day) for day in range(3)]
    assert found.ours == pytest.approx(np.mean(ours))
    assert found.theirs == pytest.approx(np.mean(theirs))
    assert found.gain == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert found.seeds == pytest.approx([np.mean(of_seed) - np.mean(theirs) for of_seed in ours])


def test_predictions_are_compared_within_a_day_only(areas: Areas) -> None:
    assert areas.gain("shifted", "theirs") == areas.gain("ours", "theirs")


def test_one_day_is_judged_by_its_rows_alone(areas: Areas) -> None:
    assert areas.gain("ours", "theirs", [1]).theirs == pytest.approx(day_auc(THEIRS[0], 1))
    assert areas.gain("ours", "theirs", [1]).ours != areas.gain("ours", "theirs", [2]).ours


def test_the_interval_of_one_day_and_seed_is_the_paired_one_over_viewers() -> None:
    rows = KNOWN & (DAY == 1)
    truth = Truth(LABELS[rows], VIEWERS[rows], np.zeros(rows.sum(), np.int64))
    alone = Areas(truth, 0, {"ours": OURS[:1, rows], "theirs": THEIRS[:, rows]}, REPLICATES)
    ours, theirs = (WeightedAuc(LABEL[rows], scores[0, rows]) for scores in (OURS, THEIRS))
    viewer = number_viewers(VIEWERS[rows])
    expected = drawn_interval(lambda weights: ours(weights) - theirs(weights), viewer, REPLICATES, 0)

    found = alone.gain("ours", "theirs")
    assert found.gain == pytest.approx(expected.estimate)
    assert found.interval == pytest.approx((expected.low, expected.high))


def test_too_few_viewers_or_positives_have_a_gain_and_no_interval(areas: Areas) -> None:
    viewers = Areas(Truth(LABELS, VIEWERS % 29, DAY), 0, {"ours": OURS, "theirs": THEIRS}, 2)
    few = np.where(np.cumsum(np.nan_to_num(LABEL)) > 9, 0, LABELS[:, 0])[:, None]
    positives = Areas(Truth(few, VIEWERS, np.zeros(ROWS, np.int64)), 0, {"ours": OURS, "theirs": THEIRS}, 2)

    for judged, reason in ((viewers, "29 viewers of at least 30"), (positives, "9 positives of at least 10")):
        found = judged.gain("ours", "theirs")
        assert (found.interval, found.no_interval) == (None, reason)
        assert 0 < found.ours < 1
    assert viewers.gain("ours", "theirs").gain == areas.gain("ours", "theirs").gain


def test_nothing_is_gained_on_the_same_predictions_in_any_draw(areas: Areas) -> None:
    found = areas.gain("ours", "ours again")

    assert (found.gain, found.interval) == (0, (0, 0))
    assert areas.gain("ours", "theirs").interval[0] < areas.gain("ours", "theirs").gain
