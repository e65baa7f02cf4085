"""Runs that end before their time, and go on."""

import io
import os
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.errors import (
    CheckpointError,
    StoppedError,
)
from tests.training.small_run import TIMES, config, everything_in, start, weights
from training.report import METRICS_FILE
from training.run import CHECKPOINT_FILE, RunConfig, run
from training.stopping import StopSignals
from training.trainer import Trainer


def interrupt(config: RunConfig, monkeypatch: pytest.MonkeyPatch, *, after_rows: int) -> None:
    """Start a run that ends in the middle."""
    step = Trainer.step

    def interrupted(trainer: Trainer, batch: pa.RecordBatch, **how: bool) -> object:
        if trainer.rows >= after_rows:
            raise KeyboardInterrupt
        return step(trainer, batch, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            start(config)


@pytest.mark.parametrize("after_rows", [32, 64, 200, 384])
def test_a_resumed_run_publishes_the_bundle_of_one_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_rows: int
) -> None:
    whole = start(config(tmp_path / "whole"))
    interrupt(config(tmp_path / "other"), monkeypatch, after_rows=after_rows)
    assert (config(tmp_path / "other").folder / CHECKPOINT_FILE).exists() == (after_rows >= 64)
    torch.rand(17)  # what else the process draws must not matter

    resumed = start(config(tmp_path / "other", resume=True))

    assert weights(resumed) == weights(whole)
    assert resumed.model_version == whole.model_version
    tables = [pq.read_table(tmp_path / name / "runs/small" / METRICS_FILE) for name in ("whole", "other")]
    assert tables[0].equals(tables[1])
    assert tables[0].num_rows > 4


def test_a_run_goes_on_behind_its_end_as_if_it_had_had_none(tmp_path: Path) -> None:
    whole = start(config(tmp_path / "whole"))
    first = start(config(tmp_path / "other", until_ms=int(TIMES[192])))

    second = start(config(tmp_path / "other", until_ms=int(TIMES[320]), resume=True))
    third = start(config(tmp_path / "other", resume=True))

    assert [first.new_rows, second.new_rows, third.new_rows] == [192, 128, 80]
    assert weights(third) == weights(whole)


def test_resuming_a_finished_run_finds_nothing_new_and_publishes_nothing(tmp_path: Path) -> None:
    first = start(config(tmp_path))
    before = everything_in(tmp_path / "bundles")

    again = start(config(tmp_path, resume=True))

    assert (first.new_rows, first.published) == (400, True)
    assert (again.new_rows, again.published) == (0, False)
    assert again.model_version == first.model_version
    assert everything_in(tmp_path / "bundles") == before


def test_a_run_with_nothing_new_leaves_the_version_that_was_made_current(tmp_path: Path) -> None:
    older = start(config(tmp_path, until_ms=int(TIMES[200])))
    start(config(tmp_path))
    Registry(str(tmp_path)).make_current(older.model_version)

    start(config(tmp_path, resume=True))

    assert Registry(str(tmp_path)).current() == older.model_version


def test_a_run_that_ended_before_it_published_is_published_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.run.publish", killed)
        with pytest.raises(KeyboardInterrupt):
            start(config(tmp_path))
    assert Registry(str(tmp_path)).current_or_none() is None

    resumed = start(config(tmp_path, resume=True))

    assert (resumed.new_rows, resumed.published) == (0, True)
    assert Registry(str(tmp_path)).current() == resumed.model_version


def test_without_resume_a_run_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = start(config(tmp_path / "whole"))
    interrupt(config(tmp_path / "other"), monkeypatch, after_rows=200)
    assert weights(start(config(tmp_path / "other"))) == weights(whole)


def test_a_run_with_another_seed_is_not_resumed(tmp_path: Path) -> None:
    start(config(tmp_path))
    with pytest.raises(CheckpointError, match="expected seed 1, found 0; train without --resume"):
        start(config(tmp_path, resume=True, seed=1))


def test_a_run_that_is_stopped_goes_on_to_the_bundle_of_one_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = start(config(tmp_path / "whole"))
    step = Trainer.step

    def told_to_stop(trainer: Trainer, batch: pa.RecordBatch, **how: bool) -> object:
        if trainer.rows == 96:  # between two checkpoints, which come every 64 rows
            os.kill(os.getpid(), signal.SIGTERM)
        return step(trainer, batch, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", told_to_stop)
        with pytest.raises(StoppedError, match="stopped by SIGTERM after 128 rows") as caught:
            run(config(tmp_path / "other"), Console(file=io.StringIO()), stop=StopSignals())
    assert caught.value.signal == signal.SIGTERM
    assert not (tmp_path / "other" / "current.json").exists()

    resumed = start(config(tmp_path / "other", resume=True))
    assert weights(resumed) == weights(whole)
    assert resumed.model_version == whole.model_version
