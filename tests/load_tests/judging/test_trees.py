import numpy as np
import pyarrow as pa
import pytest

from load_tests.judging.log import Log
from load_tests.judging.one_pass import FROZEN, LIVE
from load_tests.judging.trees import Settings, TreeDay
from ranker.metrics.exact import auc
from tests.load_tests.judging.judged_log import DAYS, ROWS_A_DAY, SPEC, small_log
from tests.training.record_source import RecordSource


@pytest.fixture(scope="module")
def log() -> Log:
    """A log whose viewers click or not as they did the last time, until they change on the last day."""
    records = small_log().records
    viewer = np.array(records["user_id"].to_pylist())
    changed = np.arange(len(viewer)) >= 2 * ROWS_A_DAY
    click = ((viewer % 2 == 0) ^ changed).astype(float)
    place = records.schema.get_field_index("click")
    return Log(RecordSource(records.set_column(place, "click", pa.array(click))))


def test_trees_read_habits_live_and_do_not_see_them_change_frozen(log: Log) -> None:
    (grown,) = TreeDay(SPEC, log, DAYS[2]).grow("click", Settings(trees=30, l2=1.0), [30])
    label = log.rows(DAYS[2].since_ms)["click"].to_numpy()
    late = slice(ROWS_A_DAY // 2, None)

    assert grown[LIVE].shape == (ROWS_A_DAY,)
    assert auc(label[late], grown[LIVE][late]) > auc(label[late], grown[FROZEN][late]) + 0.3
    assert auc(label, grown[FROZEN]) < 0.3


def test_predictions_after_fewer_trees_are_those_of_fewer_trees(log: Log) -> None:
    day = TreeDay(SPEC, log, DAYS[1])
    few, many = day.grow("like", Settings(), [3, 10])
    (alone,) = day.grow("like", Settings(trees=3), [3])

    np.testing.assert_array_equal(few[LIVE], alone[LIVE])
    assert not np.array_equal(few[LIVE], many[LIVE])


def test_ids_tell_viewers_apart_unless_they_are_left_out(log: Log) -> None:
    columns = tuple(
        f for f in SPEC.features if f not in SPEC.state_features
    )  # the state knows viewers as well
    day = TreeDay(SPEC.model_copy(update={"features": columns}), log, DAYS[1])
    (left_out,) = day.grow("click", Settings(l2=1.0), [30])
    (given,) = day.grow("click", Settings(l2=1.0, ids="by frequency"), [30])

    label = log.rows(DAYS[1].since_ms, DAYS[1].until_ms)["click"].to_numpy()
    assert auc(label, given[FROZEN]) > 0.9
    assert auc(label, left_out[FROZEN]) < 0.7
