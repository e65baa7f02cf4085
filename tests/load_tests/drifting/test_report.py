from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from load_tests.drifting.arms import ARMS, FOLLOWING, FROZEN, RANDOM, Row
from load_tests.drifting.report import draw, mean_over_viewers, summary
from training.sources.simulated.population import DAY_MS, EPOCH_MS

MEANS = {FOLLOWING: 4.0, FROZEN: 3.8, RANDOM: 3.2}


def made_rows(days: int = 3, pages: int = 300) -> list[Row]:
    """Pages of viewers who differ; a frozen arm is as good as the following one on the first day."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(days * pages):
        world_ms = EPOCH_MS + number * DAY_MS // pages
        viewer = int(rng.integers(20))
        own = 0.3 * np.sin(viewer) + rng.normal(0, 0.1)
        for arm in ARMS:
            mean = MEANS[FOLLOWING] if number < pages and arm == FROZEN else MEANS.get(arm, 3.9)
            rows.append(Row(arm, world_ms, viewer, mean + own, (mean + own) / 10))
    return rows


def test_intervals_are_over_viewers() -> None:
    rng = np.random.default_rng(0)
    viewer = np.repeat(np.arange(100), 50)
    values = rng.normal(0, 1, 100)[viewer]  # all pages of a viewer are the same

    mean, half = mean_over_viewers(values, viewer)

    assert mean == pytest.approx(values.mean())
    assert half == pytest.approx(1.96 * values.std() / 10, rel=1e-6)


def test_days_and_differences_are_those_that_were_made() -> None:
    found = summary(made_rows(), EPOCH_MS)

    assert found["pages"] == 900
    frozen = [mean for mean, _ in found["days"]["stars"][FROZEN]]
    followed = [mean for mean, _ in found["days"]["stars"][FOLLOWING]]
    np.testing.assert_allclose(np.subtract(followed, frozen), [0, 0.2, 0.2], atol=1e-9)
    late = found["last_third"]["stars"]
    assert late[FROZEN]["following minus this"] == pytest.approx((0.2, 0.0), abs=1e-9)
    assert late[RANDOM]["following minus this"] == pytest.approx((0.8, 0.0), abs=1e-9)
    assert late[FOLLOWING]["mean"][1] > 0.05


def test_the_picture_shows_every_arm(tmp_path: Path) -> None:
    draw(summary(made_rows(), EPOCH_MS), tmp_path / "drift.png")

    assert plt.imread(tmp_path / "drift.png").shape[1] > 1000
