import os
import random
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ranker.errors import CheckpointError
from tests.ranker.small_spec import SMALL_SPEC, random_records, small_spec
from training import checkpoint
from training.checkpoint import Position, new_run, restore, save
from training.sources.merge import rebatch
from training.trainer import Trainer

ROWS = 32
BATCHES = list(rebatch([pa.Table.from_batches([random_records(10 * ROWS)])], ROWS))


def fresh() -> Trainer:
    return Trainer(SMALL_SPEC, seed=5)


def run_of(trainer: Trainer) -> Position:
    return new_run(trainer, source="test_checkpoint.py", since_ms=1, until_ms=None, seed=5)


def everything(trainer: Trainer, folder: Path) -> dict[str, bytes]:
    """All that a checkpoint of the trainer holds as tensors; bytes, for NaN equals nothing."""
    save(folder / "compared", trainer, run_of(trainer))
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(folder / "compared").items()}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint after three batches."""
    trainer = fresh()
    for batch in BATCHES[:3]:
        trainer.step(batch)
    save(tmp_path / "checkpoint", trainer, run_of(trainer))
    return tmp_path / "checkpoint"


@pytest.mark.parametrize("stop", [1, 4, 9, 10])
def test_a_resumed_run_ends_bit_by_bit_like_one_never_stopped(tmp_path: Path, stop: int) -> None:
    whole = fresh()
    for batch in BATCHES:
        whole.step(batch)
    expected = everything(whole, tmp_path)
    first = fresh()
    for batch in BATCHES[:stop]:
        first.step(batch)
    save(tmp_path / "checkpoint", first, run_of(first))
    torch.manual_seed(123)  # what else happens in between must not matter

    second = fresh()
    position = restore(tmp_path / "checkpoint", second, run_of(second))
    assert position.rows == second.rows == stop * ROWS
    for batch in BATCHES[stop:]:
        second.step(batch)

    assert everything(second, tmp_path) == expected
    assert second.encoder.state() == whole.encoder.state()
    assert second.metrics.total() == whole.metrics.total()
    assert second.metrics.rows(with_open=True).equals(whole.metrics.rows(with_open=True))
    assert (second.rows, second.watermark_ms) == (whole.rows, whole.watermark_ms)


def test_a_checkpoint_before_the_first_batch_is_a_fresh_run(tmp_path: Path) -> None:
    first = fresh()
    save(tmp_path / "checkpoint", first, run_of(first))
    second = fresh()
    restore(tmp_path / "checkpoint", second, run_of(second))
    ours = [second.step(batch).loss for batch in BATCHES]
    whole = fresh()
    assert ours == [whole.step(batch).loss for batch in BATCHES]


@pytest.mark.parametrize("moment", ["save_file", "sync", "replace"])
def test_a_crash_while_writing_leaves_the_old_one(
    saved: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    before = saved.read_bytes()
    trainer = fresh()
    trainer.step(BATCHES[0])

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os if moment == "replace" else checkpoint, moment, crash)
    with pytest.raises(KeyboardInterrupt):
        save(saved, trainer, run_of(trainer))
    monkeypatch.undo()

    assert saved.read_bytes() == before
    save(saved, trainer, run_of(trainer))
    assert restore(saved, fresh(), run_of(fresh())).rows == ROWS
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_truncated_file_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    for length in (0, 4, 100, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=f"{saved}: expected a checkpoint, found"):
            restore(saved, fresh(), run_of(fresh()))


def test_any_changed_byte_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    draw = random.Random(0)
    for place in [draw.randrange(len(content)) for _ in range(60)]:
        changed = bytearray(content)
        changed[place] ^= 1 << draw.randrange(8)
        saved.write_bytes(changed)
        with pytest.raises(CheckpointError, match=str(saved)):
            restore(saved, fresh(), run_of(fresh()))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="expected a checkpoint, found 'position'"):
        restore(path, fresh(), run_of(fresh()))


@pytest.mark.parametrize(
    ("field", "change"),
    [("source", "another log"), ("since_ms", None), ("until_ms", 17), ("seed", 6), ("format", 99)],
)
def test_another_run_is_refused_by_the_field_that_differs(saved: Path, field: str, change: object) -> None:
    trainer = fresh()
    before = everything(trainer, saved.parent)
    run = run_of(trainer).model_copy(update={field: change})

    with pytest.raises(CheckpointError, match=f"is of another run: expected {field} {change!r}, found"):
        restore(saved, trainer, run)

    assert everything(trainer, saved.parent) == before


def test_another_spec_is_refused(saved: Path) -> None:
    trainer = Trainer(small_spec(experts=2), seed=5)
    with pytest.raises(CheckpointError, match="is of another run: expected spec"):
        restore(saved, trainer, run_of(trainer))


def test_no_part_of_it_is_a_pickle(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        assert set(file.metadata()) == {"position", "encoder", "digest"}
        assert {name.split("/")[0] for name in file.keys()} == {  # noqa: SIM118 (not a mapping)
            "model",
            "dense",
            "sparse",
            "average",
            "metrics",
            "correction",
            "features",
            "random",
        }
