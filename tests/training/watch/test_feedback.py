"""Feedback that comes and fits, and feedback that does not."""

import numpy as np
import pyarrow as pa

from tests.training.watch.rows import ROWS, SPEC, Watched, hour_of_rows
from training.gate.window import WindowRows
from training.watch.feedback import head_calibration, silence

HOUR = 490_000


def rows(*batches: pa.RecordBatch) -> WindowRows:
    watched = Watched()
    watched.take(list(batches))
    return watched.rows


def quiet(hour: int) -> pa.RecordBatch:
    return hour_of_rows(hour, click=np.zeros(ROWS), stars=pa.nulls(ROWS, pa.float64()))


def dense(records: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows within ten minutes."""
    times = records.column("time_ms").to_numpy()
    return records.set_column(0, "time_ms", pa.array(times[-1] - (times[-1] - times) // 7))


def test_videos_without_any_feedback_for_long_are_an_alarm() -> None:
    found = silence(rows(hour_of_rows(HOUR), dense(quiet(HOUR + 1))), {"click": 240, "stars": None})
    assert found is not None
    assert str(found).startswith("silent feedback, events: expected feedback on some of ")
    assert str(found).endswith(" rows of the last 10 minutes, found none on any of them")


def test_one_event_is_enough() -> None:
    once = quiet(HOUR + 1).set_column(7, "click", pa.array(np.eye(1, ROWS, ROWS - 5)[0]))
    assert silence(rows(hour_of_rows(HOUR), dense(once)), {"click": 240}) is None


def test_few_rows_are_none_nor_is_a_log_that_never_had_any() -> None:
    sparse = rows(hour_of_rows(HOUR), quiet(HOUR + 1))
    assert np.count_nonzero(sparse.times > sparse.times[-1] - 600_000) < 200
    assert silence(sparse, {"click": 240}) is None
    assert silence(rows(quiet(HOUR), dense(quiet(HOUR + 1))), {"click": 0}) is None


def test_a_head_that_promises_what_happens_raises_none() -> None:
    found = rows(hour_of_rows(HOUR), hour_of_rows(HOUR + 1))
    figures, alarms = head_calibration(SPEC.tasks, found, found.predictions)
    assert alarms == []
    assert 0.9 < (figures["click"] or 0) < 1.1
    assert figures["stars"] == 1


def test_heads_that_have_drifted_are_alarms_of_their_own() -> None:
    seldom = hour_of_rows(HOUR, click=(np.random.default_rng(0).random(ROWS) < 0.1).astype(float))
    found = rows(seldom)
    figures, (alarm,) = head_calibration(SPEC.tasks, found, found.predictions)
    assert str(alarm).startswith("calibration, click: expected a mean prediction within a factor 1.5 of the")
    assert str(alarm).endswith("found 0.3 in 800 rows")
    assert (figures["click"] or 0) > 2
    few, halved = found.predictions, found.predictions / 2
    assert [a.about for a in head_calibration(SPEC.tasks, found, halved)[1]] == ["click", "stars"]
    assert len(few) == ROWS


def test_a_head_without_labels_says_nothing() -> None:
    found = rows(quiet(HOUR))
    figures, alarms = head_calibration(SPEC.tasks, found, found.predictions)
    assert figures["stars"] is None
    assert (figures["click"], alarms) == (None, [])  # without a positive, no mean can be drifted from
