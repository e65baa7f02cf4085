import numpy as np
import pytest

from load_tests.judging.log import Day, Log, Truth
from tests.load_tests.judging.judged_log import DAYS, ROWS_A_DAY, SPEC, small_log


def test_a_day_begins_at_midnight_in_beijing() -> None:
    day = Day.parse("2022-05-04")

    assert (day.since_ms, day.until_ms) == (1_651_593_600_000, 1_651_680_000_000)
    assert str(day) == "2022-05-04"


@pytest.fixture(scope="module")
def log() -> Log:
    return small_log()


def test_a_days_rows_are_those_from_its_first_to_before_its_last_moment(log: Log) -> None:
    rows = log.rows(DAYS[1].since_ms, DAYS[1].until_ms)

    assert rows == log.records.slice(ROWS_A_DAY, ROWS_A_DAY)
    assert rows["time_ms"][0].as_py() == DAYS[1].since_ms
    assert log.rows(None, DAYS[1].since_ms) == log.records.slice(0, ROWS_A_DAY)
    assert log.rows(DAYS[1].since_ms) == log.records.slice(ROWS_A_DAY)


def test_batches_hold_the_same_rows(log: Log) -> None:
    batches = list(log.batches(100, DAYS[1].since_ms, DAYS[2].until_ms))

    assert [batch.num_rows for batch in batches] == [100, 100, 100, 100, 100, 12]
    assert batches[5] == log.records.slice(ROWS_A_DAY + 500)


def test_what_happened_is_read_day_after_day_without_labels_that_have_no_head(log: Log) -> None:
    truth = Truth.of(log, SPEC, DAYS[1:])

    assert truth.labels.shape == (2 * ROWS_A_DAY, len(SPEC.tasks))
    expected = log.records.slice(ROWS_A_DAY)["like"].to_numpy(zero_copy_only=False)
    np.testing.assert_array_equal(truth.labels[:, 2], expected.astype(np.float32))
    assert truth.viewers.tolist() == log.records.slice(ROWS_A_DAY)["user_id"].to_pylist()
    assert truth.day.tolist() == [0] * ROWS_A_DAY + [1] * ROWS_A_DAY
