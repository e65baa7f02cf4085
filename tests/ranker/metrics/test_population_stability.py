import numpy as np
import pytest

from ranker.metrics.population_stability import stability_index, stability_of_values


def test_two_bins_by_hand() -> None:
    expected, found = np.array([5_000, 5_000]), np.array([9_000, 1_000])
    assert stability_index(expected, found) == pytest.approx(0.4 * np.log(9), rel=1e-3)
    assert stability_index(expected, found) == pytest.approx(stability_index(found, expected))


def test_one_distribution_has_next_to_none_and_one_that_moved_has_more() -> None:
    random = np.random.default_rng(0)
    before, same, moved = random.normal(size=2000), random.normal(size=2000), random.normal(1, 1, 2000)
    assert stability_of_values(before, same) < 0.02
    assert stability_of_values(before, moved) > 0.5


def test_a_bin_that_is_empty_is_finite_and_a_sample_that_is_empty_says_nothing() -> None:
    assert 1 < stability_index(np.array([100, 0]), np.array([0, 100])) < 100
    assert np.isnan(stability_index(np.array([0, 0]), np.array([1, 1])))
    assert np.isnan(stability_of_values(np.array([]), np.array([1.0])))
    assert stability_of_values(np.ones(10), np.ones(10)) == 0
