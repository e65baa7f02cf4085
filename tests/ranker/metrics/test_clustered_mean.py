"""Intervals of means over viewers, held against simulation and against rows that are all of other viewers."""

import numpy as np
import pytest

from ranker.metrics.clustered_mean import mean_interval


def test_rows_that_are_each_of_another_viewer_have_the_interval_of_a_sample_mean() -> None:
    values = np.random.default_rng(0).normal(3, 2, 500)

    found = mean_interval(values, np.arange(500))

    margin = 1.965 * values.std(ddof=1) / np.sqrt(500)
    assert found.estimate == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - margin, values.mean() + margin), rel=1e-3
    )


def test_a_row_that_stands_there_ten_times_says_no_more_than_once() -> None:
    values = np.random.default_rng(0).normal(size=100)
    viewers = np.arange(100)

    once, tenfold = (
        mean_interval(values, viewers),
        mean_interval(np.repeat(values, 10), np.repeat(viewers, 10)),
    )

    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high), abs=1e-6)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random, covered = np.random.default_rng(1), 0
    for _ in range(400):
        viewers = np.repeat(np.arange(60), random.integers(1, 20, 60))
        values = random.normal(0, 1, 60)[viewers] + random.normal(0, 1, len(viewers))
        found = mean_interval(values, viewers)
        covered += found.low <= 0 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_few_viewers_have_none() -> None:
    found = mean_interval(np.arange(100.0), np.arange(100) % 29)
    assert np.isnan(found.low)
    assert found.reason == "29 viewers of at least 30"
    assert mean_interval(np.array([]), np.array([])).reason == "0 viewers of at least 30"
