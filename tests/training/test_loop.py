"""Things are done when they are due, counted from where the loop begins."""

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from ranker.errors import NonFiniteLossError
from tests.training.toy import TOY_SPEC, toy_batch
from training import loop as module
from training.loop import RECENT_ROWS, Every, TrainingLoop
from training.sources.base import SourceBatch
from training.trainer import Trainer


def steps(every: Every, rows_and_times: list[tuple[int, int]], *, start: tuple[int, int | None]) -> None:
    """Let the loop's hooks see these totals of rows and watermarks, one after the other."""
    trainer: Any = SimpleNamespace(rows=start[0], watermark_ms=start[1])
    every.start(trainer)
    for trainer.rows, trainer.watermark_ms in rows_and_times:
        every.after_step(trainer)
    every.finish(trainer)


def test_after_so_many_rows_since_the_last_time() -> None:
    done: list[int] = []
    every = Every(lambda: done.append(1), rows=100)

    steps(every, [(rows, 0) for rows in (140, 190, 210, 290, 310)], start=(100, None))

    assert len(done) == 2  # at 210, and at 310


def test_after_so_much_event_time_since_the_last_time() -> None:
    done: list[int] = []
    every = Every(lambda: done.append(1), event_ms=1000)

    steps(every, [(1, 5000), (2, 5999), (3, 6000), (4, 6500), (5, 9000)], start=(0, None))

    assert len(done) == 2  # at 6000, and at 9000


def test_after_so_many_seconds_and_first_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.0, 10.4, 10.6, 10.6, 10.7])  # a reading where it is asked, one where it is done
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    done: list[int] = []

    steps(Every(lambda: done.append(1), seconds=0.5), [(1, 0), (2, 0), (3, 0), (4, 0)], start=(0, None))

    assert len(done) == 2


@pytest.mark.parametrize("at_end", [False, True])
def test_once_more_at_the_end_if_wanted(at_end: bool) -> None:
    done: list[int] = []

    steps(Every(lambda: done.append(1), rows=100, at_end=at_end), [(50, 0)], start=(0, None))

    assert len(done) == at_end


def test_the_offset_is_that_of_what_was_learned_and_stands_before_a_refused_batch() -> None:
    loop = TrainingLoop(Trainer(TOY_SPEC, seed=0))
    learned, refused = (
        SourceBatch(toy_batch(0, 20), {"rows": 20}),
        SourceBatch(toy_batch(1, 20), {"rows": 40}),
    )
    loop.run([learned], [])
    loop.trainer.loss.weights = loop.trainer.loss.weights * float("inf")

    with pytest.raises(NonFiniteLossError):
        loop.run([refused], [])

    assert loop.offset == {"rows": 20}


def test_the_last_examples_are_remembered_across_small_batches() -> None:
    loop = TrainingLoop(Trainer(TOY_SPEC, seed=0))

    loop.run([SourceBatch(toy_batch(seed, 10), {}) for seed in range(4)], [])

    assert loop.recent is not None
    assert loop.recent.column("time_ms").to_pylist() == list(range(40 - RECENT_ROWS, 40))


def test_a_loop_that_is_to_stop_finishes_its_step_and_does_what_is_due_at_the_end() -> None:
    loop = TrainingLoop(Trainer(TOY_SPEC, seed=0))
    done: list[int] = []
    batches = (SourceBatch(toy_batch(i), {"batch": i}) for i in range(5))

    loop.run(
        batches,
        [Every(lambda: done.append(loop.trainer.rows), at_end=True)],
        stop=lambda: loop.offset == {"batch": 1},
    )

    assert done == [2 * toy_batch(0).num_rows]
    assert loop.offset == {"batch": 1}


def test_examples_of_another_schema_take_the_place_of_those_remembered() -> None:
    loop = TrainingLoop(Trainer(TOY_SPEC, seed=0))
    whole = toy_batch(0)
    more = whole.slice(0, 5).append_column("added", pa.array(range(5)))
    loop.run([SourceBatch(whole, {}), SourceBatch(more, {})], [])

    assert loop.recent is not None
    assert loop.recent.equals(more)
