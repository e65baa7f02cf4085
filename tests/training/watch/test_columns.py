"""Columns that are as before, and columns that are not."""

from typing import Any

import numpy as np
import pytest

from tests.training.watch.rows import ROWS, Watched, hour_of_rows
from training.watch.columns import ColumnHistograms, column_figures

DAYS = 2
DAY = 490_000
"""A multiple of 24 is missed by 16: the first hour is 16 o'clock."""


@pytest.fixture(scope="module")
def two_days() -> dict[str, Any]:
    watched = Watched()
    watched.take(hour_of_rows(DAY + hour) for hour in range(24 * DAYS))
    return watched.histograms.state_dict()


def alarms(state: dict[str, Any], **changed: Any) -> dict[tuple[str, str], str]:
    """The alarms when the first hour of the third day has come."""
    watched = Watched()
    watched.histograms.load_state_dict({name: array.copy() for name, array in state.items()})
    watched.take([hour_of_rows(DAY + 24 * DAYS, **changed)])
    _, found = column_figures(watched.histograms, watched.rows)
    return {(alarm.kind, alarm.about): str(alarm) for alarm in found}


def test_a_day_like_those_before_raises_none_although_hours_differ(two_days: dict[str, Any]) -> None:
    assert alarms(two_days) == {}


def test_a_column_that_has_moved_is_an_alarm(two_days: dict[str, Any]) -> None:
    found = alarms(two_days, length=lambda values: [1000 * value for value in values])
    assert found.keys() == {("distribution", "length")}
    assert "expected a stability index (PSI) of at most 0.5 to this hour of earlier days" in str(found)
    found = alarms(two_days, topic=["news"] * ROWS, tags=[["a"]] * ROWS)
    assert found.keys() == {("distribution", "topic"), ("distribution", "tags")}


def test_a_small_move_is_none(two_days: dict[str, Any]) -> None:
    assert alarms(two_days, length=lambda values: [value + 3 for value in values]) == {}


def test_values_that_are_missing_more_often_are_an_alarm(two_days: dict[str, Any]) -> None:
    def gaps(share: float) -> Any:
        draw = np.random.default_rng(0)
        return lambda values: [None if draw.random() < share else value for value in values]

    assert alarms(two_days, length=gaps(0.1)) == {}
    assert alarms(two_days, length=gaps(0.5)) == {
        ("missing", "length"): "missing, length: expected at most 20% of the values to be missing, found 48%"
    }


def test_a_column_that_is_there_no_more_has_gone_silent(two_days: dict[str, Any]) -> None:
    nothing = [None] * ROWS
    assert alarms(two_days, length=nothing, topic=nothing, tags=nothing) == {
        ("silent column", name): f"silent column, {name}: expected values in 100% of the rows, as before, "
        "found none in the newest 200 rows"
        for name in ("length", "topic", "tags")
    }
    last = [60.0] * (ROWS - 200) + [None] * 200
    assert ("silent column", "length") in alarms(two_days, length=last)
    assert ("silent column", "length") not in alarms(two_days, length=[*last[:-1], 60.0])


def test_one_that_was_hardly_ever_there_cannot_go_silent(two_days: dict[str, Any]) -> None:
    assert alarms(two_days, seldom=[None] * ROWS) == {}


def test_few_rows_and_few_viewers_say_nothing(two_days: dict[str, Any]) -> None:
    assert alarms(two_days, user_id=[1] * ROWS, length=[9e9] * ROWS) == {}
    first_hour: dict[str, Any] = {}
    assert alarms(first_hour, length=[None] * ROWS) == {}


def test_histograms_count_every_row_once_however_batches_are_cut() -> None:
    hours = [hour_of_rows(DAY + hour) for hour in range(3)]
    whole, cut = Watched(), Watched()
    whole.take(hours)
    for start in range(0, ROWS, 160):
        cut.take([hours[0].slice(start, 160)])
    cut.take(hours[1:])
    before, found = whole.histograms.before(), cut.histograms.before()
    names = [part.column for part in whole.histograms.parts]
    for index, name in enumerate(names):
        assert before[index].sum() == found[index].sum() == 2 * ROWS, name
        if name not in ("length", "seldom"):  # whose bins the first values decide
            assert np.array_equal(before[index], found[index])


def test_saved_histograms_go_on_like_those_that_were_never_saved(two_days: dict[str, Any]) -> None:
    watched, other = Watched(), Watched()
    watched.histograms.load_state_dict({name: array.copy() for name, array in two_days.items()})
    other.histograms.load_state_dict(watched.histograms.state_dict())
    for one in (watched, other):
        one.take([hour_of_rows(DAY + 48), hour_of_rows(DAY + 49)])
    ours, theirs = watched.histograms.state_dict(), other.histograms.state_dict()
    assert all(np.array_equal(ours[name], theirs[name], equal_nan=True) for name in ours)


def test_a_state_of_other_columns_is_not_gone_on_from(two_days: dict[str, Any]) -> None:
    watched = Watched()
    fewer = {**two_days, "closed": two_days["closed"][:, 1:]}
    watched.histograms.load_state_dict(fewer)
    assert isinstance(watched.histograms, ColumnHistograms)
    assert watched.histograms.before().sum() == 0
