import numpy as np
import pytest

from training.magnitudes import MAX_VALUES, MIN_VALUES, MagnitudeCounts

DRAW = np.random.default_rng(0)


def counted(*columns: np.ndarray) -> MagnitudeCounts:
    return MagnitudeCounts.of_none(len(columns)).with_rows(np.stack(columns, axis=1).astype(np.float32))


@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_a_quantile_is_at_most_an_eighth_too_high_in_any_unit(unit: float) -> None:
    values = unit * DRAW.exponential(size=10_000)
    (found,) = counted(values).quantile(0.9)

    assert np.quantile(values, 0.9) <= found <= 1.126 * np.quantile(values, 0.9)


def test_signs_zeros_missing_and_infinite_values_do_not_count() -> None:
    values = DRAW.exponential(size=100)
    others = np.concatenate([values * DRAW.choice([-1, 1], 100), np.zeros(50), [np.nan, np.inf, -np.inf]])

    assert counted(others).quantile(0.9) == counted(values).quantile(0.9)


def test_a_column_knows_nothing_of_another_and_few_values_say_nothing() -> None:
    many, few = np.full(20, 3.0), np.array([7.0] * (MIN_VALUES - 1) + [np.nan] * (21 - MIN_VALUES))
    found = counted(many, few).quantile(0.9)

    assert 3 < found[0] < 3.4
    assert found[1] == np.inf


def test_batches_add_up() -> None:
    values = DRAW.exponential(size=(300, 2)).astype(np.float32)
    parts = MagnitudeCounts.of_none(2)
    for part in np.split(values, 3):
        parts = parts.with_rows(part)

    np.testing.assert_array_equal(parts.counts, MagnitudeCounts.of_none(2).with_rows(values).counts)


def test_quantiles_follow_what_changes_after_very_many_rows() -> None:
    counts = MagnitudeCounts(counted(np.full(1, 1.0)).counts * MAX_VALUES)
    for _ in range(7):  # fewer rows than before
        counts = counts.with_rows(np.full((MAX_VALUES // 8, 1), 100.0, np.float32))

    assert counts.quantile(0.5) > 100
