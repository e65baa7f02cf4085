import numpy as np
import pyarrow as pa
import pytest
import torch

from load_tests.judging.log import Log
from load_tests.judging.one_pass import FROZEN, LEARNING, LIVE, judge, learn, learn_on, one_pass, second_pass
from ranker.features.state.feature_state import FeatureState
from tests.load_tests.judging.judged_log import DAYS, ROWS_A_DAY, SPEC, small_log
from tests.training.record_source import RecordSource
from training.trainer import Trainer
from training.waiting import WaitingRows


@pytest.fixture(scope="module")
def log() -> Log:
    return small_log()


def trained(log: Log) -> Trainer:
    trainer = Trainer(SPEC, seed=0)
    learn(trainer, log, None, DAYS[1].since_ms)
    return trainer


def test_judging_on_the_way_does_not_disturb_the_run(log: Log) -> None:
    judged = trained(log)
    for live in (False, True):
        judge(judged, log, DAYS[1], live=live)
    learn_on(judged, log, DAYS[1])
    alone = trained(log)  # only now: both draw from the one generator that a trainer seeds
    learn(alone, log, DAYS[1].since_ms, DAYS[1].until_ms)

    for name, tensor in alone.model.state_dict().items():
        assert torch.equal(judged.model.state_dict()[name], tensor), name
    assert judged.encoder.state() == alone.encoder.state()
    for name, array in alone.encoder.arrays().items():
        np.testing.assert_array_equal(judged.encoder.arrays()[name], array)


def test_a_days_first_batch_is_predicted_alike_live_and_learning_on(log: Log) -> None:
    trainer = trained(log)
    trainer.learn_due(log.rows(DAYS[1].since_ms).column("time_ms")[0].as_py())
    live = judge(trainer, log, DAYS[1], live=True)
    learning = learn_on(trainer, log, DAYS[1])

    first = SPEC.training.batch_size
    np.testing.assert_allclose(learning[:first], live[:first], rtol=1e-5)
    assert not np.allclose(learning[first:], live[first:], rtol=1e-2)


def test_live_features_see_the_days_rows_and_frozen_ones_do_not(log: Log) -> None:
    trainer = trained(log)
    click = log.records.schema.get_field_index("click")
    column = np.array(log.records["click"].to_pylist(), float)
    column[ROWS_A_DAY : ROWS_A_DAY + 100] = 1 - column[ROWS_A_DAY : ROWS_A_DAY + 100]
    other = Log(RecordSource(log.records.set_column(click, "click", pa.array(column, from_pandas=True))))

    for live in (False, True):
        mine, theirs = (judge(trainer, each, DAYS[1], live=live) for each in (log, other))
        np.testing.assert_array_equal(mine[0], theirs[0])
        assert np.array_equal(mine, theirs) == (not live)


def test_one_pass_predicts_every_day_after_all_that_came_before(log: Log) -> None:
    found = one_pass(SPEC, log, DAYS[1:], seed=0)

    assert found.keys() == {FROZEN, LIVE, LEARNING}
    trainer = Trainer(SPEC, seed=0)
    learn(trainer, log, None, DAYS[2].since_ms)
    for mode in (FROZEN, LIVE):
        expected = judge(trainer, log, DAYS[2], live=mode == LIVE)
        np.testing.assert_array_equal(found[mode][ROWS_A_DAY:], expected)


def test_a_second_pass_is_to_train_again_on_the_same_rows(log: Log) -> None:
    found = second_pass(SPEC, log, DAYS[1:], seed=0)

    trainer = Trainer(SPEC, seed=0)
    learn(trainer, log, None, DAYS[2].since_ms)
    once = judge(trainer, log, DAYS[2], live=False)
    trainer.encoder.feature_state = FeatureState(SPEC, trainer.encoder.layout)
    trainer.waiting = WaitingRows(trainer.turns)
    learn(trainer, log, None, DAYS[2].since_ms)
    np.testing.assert_array_equal(found[FROZEN][ROWS_A_DAY:], judge(trainer, log, DAYS[2], live=False))
    assert not np.allclose(found[FROZEN][ROWS_A_DAY:], once, rtol=1e-2)
