import numpy as np
import pytest

from ranker.metrics.exact import auc
from ranker.metrics.weighted_auc import WeightedAuc

RANDOM = np.random.default_rng(0)
ROWS, VIEWERS = 400, 25
LABELS = (RANDOM.random(ROWS) < 0.3).astype(float)
SCORES = np.round(RANDOM.normal(size=ROWS) + LABELS, 1)  # with ties
VIEWER = RANDOM.integers(0, VIEWERS, ROWS)


def test_it_is_the_auc_of_weighted_rows() -> None:
    area = WeightedAuc(LABELS, SCORES)
    for weights in (np.ones(ROWS), RANDOM.uniform(0, 3, ROWS)):
        assert area(weights) == pytest.approx(auc(LABELS, SCORES, weights))


def test_a_viewers_influence_is_how_the_auc_answers_to_the_weight_of_its_rows() -> None:
    area, step = WeightedAuc(LABELS, SCORES), 1e-5
    answers = [
        (area(1 + step * (viewer == VIEWER)) - area(1 - step * (viewer == VIEWER))) / (2 * step)
        for viewer in range(VIEWERS)
    ]
    influence = area.influence(VIEWER)

    np.testing.assert_allclose(influence, answers, atol=1e-8)
    assert influence.sum() == pytest.approx(0, abs=1e-12)
