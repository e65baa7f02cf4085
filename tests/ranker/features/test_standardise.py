import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ranker.features.standardise import CLIP, Standardiser, Statistics

gappy = st.floats(-1e6, 1e6) | st.just(np.nan)
batches = st.lists(
    st.integers(0, 8).flatmap(lambda rows: arrays(np.float64, (rows, 3), elements=gappy)),
    min_size=1,
    max_size=5,
)


@given(batches)
def test_statistics_are_those_of_all_batches_together(batches: list[np.ndarray]) -> None:
    standardiser = Standardiser(3)
    for batch in batches:
        standardiser.observe(batch)

    state = standardiser.state()

    for column, values in enumerate(np.concatenate(batches).T):
        known = values[~np.isnan(values)]
        assert state.count[column] == len(known)
        if len(known):
            np.testing.assert_allclose(state.mean[column], known.mean(), rtol=1e-9, atol=1e-6)
            np.testing.assert_allclose(state.squares[column], known.var() * len(known), rtol=1e-7, atol=1e-3)


def test_values_are_standardised_with_mean_and_deviation() -> None:
    seen = np.random.default_rng(0).normal(50, 3, (1000, 2))
    standardiser = Standardiser(2)
    for batch in np.split(seen, 10):
        standardiser.observe(batch)
    fresh = np.random.default_rng(1).normal(50, 3, (20, 2))

    found = standardiser.standardise(fresh)

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (fresh - seen.mean(axis=0)) / seen.std(axis=0), rtol=1e-5, atol=1e-6)


def test_missing_values_are_0_and_teach_nothing() -> None:
    standardiser = Standardiser(1)
    standardiser.observe(np.array([[1.0], [3.0]]))
    before = standardiser.state()

    standardiser.observe(np.array([[np.nan], [np.nan]]))

    assert standardiser.state() == before
    assert standardiser.standardise(np.array([[np.nan], [3.0]])).tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize("seen", [[], [5.0], [5.0, 5.0, 5.0]])
def test_values_without_a_spread_yet_are_0(seen: list[float]) -> None:
    standardiser = Standardiser(1)
    standardiser.observe(np.array(seen).reshape(-1, 1))

    assert standardiser.standardise(np.array([[7.0]])).tolist() == [[0.0]]


def test_outliers_are_cut() -> None:
    standardiser = Standardiser(1)
    standardiser.observe(np.array([[-1.0], [1.0]]))

    assert standardiser.standardise(np.array([[1e9], [-1e9]])).tolist() == [[CLIP], [-CLIP]]


@given(batches)
def test_a_state_survives_json_bit_for_bit(batches: list[np.ndarray]) -> None:
    standardiser, copy = Standardiser(3), Standardiser(3)
    for batch in batches:
        standardiser.observe(batch)

    copy.load(Statistics.model_validate_json(standardiser.state().model_dump_json()))
    for each in (standardiser, copy):
        each.observe(batches[0])

    assert copy.state() == standardiser.state()
    np.testing.assert_array_equal(copy.standardise(batches[-1]), standardiser.standardise(batches[-1]))
