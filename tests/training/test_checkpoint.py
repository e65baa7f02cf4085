import os
import random
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ranker.errors import CheckpointError, FileError
from tests.ranker.small_spec import SMALL_SPEC, random_records, small_spec
from training import checkpoint
from training.checkpoint import FORMAT, RunIdentity, restore, save
from training.loop import TrainingLoop
from training.sources.base import SourceBatch
from training.sources.merge import rebatch
from training.trainer import Trainer

ROWS = 32
BATCHES = list(rebatch([pa.Table.from_batches([random_records(10 * ROWS)])], ROWS))


def fresh() -> TrainingLoop:
    return TrainingLoop(Trainer(SMALL_SPEC, seed=5))


def learn(loop: TrainingLoop, batches: list[pa.RecordBatch]) -> None:
    rows = loop.trainer.rows
    loop.run((SourceBatch(batch, {"rows": rows + (i + 1) * ROWS}) for i, batch in enumerate(batches)), [])


RUN = RunIdentity.of(SMALL_SPEC, source="test_checkpoint.py", since_ms=1, until_ms=None, seed=5)


def everything(loop: TrainingLoop, folder: Path) -> dict[str, bytes]:
    """All that a checkpoint of the loop holds as tensors; bytes, for NaN equals nothing."""
    save(folder / "compared", loop, RUN)
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(folder / "compared").items()}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint after three batches."""
    loop = fresh()
    learn(loop, BATCHES[:3])
    save(tmp_path / "checkpoint", loop, RUN)
    return tmp_path / "checkpoint"


@pytest.mark.parametrize("stop", [1, 4, 9, 10])
def test_a_resumed_run_ends_bit_by_bit_like_one_never_stopped(tmp_path: Path, stop: int) -> None:
    whole = fresh()
    learn(whole, BATCHES)
    expected = everything(whole, tmp_path)
    first = fresh()
    learn(first, BATCHES[:stop])
    save(tmp_path / "checkpoint", first, RUN)
    torch.manual_seed(123)  # what else happens in between must not matter

    second = fresh()
    reached = restore(tmp_path / "checkpoint", second, RUN)
    assert reached.rows == second.trainer.rows == stop * ROWS
    assert reached.offset == second.offset == first.offset == {"rows": stop * ROWS}
    assert second.recent == first.recent
    learn(second, BATCHES[stop:])

    assert everything(second, tmp_path) == expected
    ours, theirs = second.trainer, whole.trainer
    assert ours.encoder.state() == theirs.encoder.state()
    assert ours.metrics.total() == theirs.metrics.total()
    assert ours.metrics.rows(with_open=True).equals(theirs.metrics.rows(with_open=True))
    assert (ours.rows, ours.watermark_ms, second.offset) == (theirs.rows, theirs.watermark_ms, whole.offset)


def test_a_checkpoint_before_the_first_batch_is_a_fresh_run(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint", fresh(), RUN)
    second = fresh()
    restore(tmp_path / "checkpoint", second, RUN)
    assert (second.offset, second.recent) == (None, None)
    ours = [second.trainer.step(batch).loss for batch in BATCHES]
    whole = fresh()
    assert ours == [whole.trainer.step(batch).loss for batch in BATCHES]


@pytest.mark.parametrize("moment", ["save_file", "fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_one(
    saved: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    before = saved.read_bytes()
    loop = fresh()
    learn(loop, BATCHES[:1])

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint if moment == "save_file" else os, moment, crash)
    with pytest.raises(KeyboardInterrupt):
        save(saved, loop, RUN)
    monkeypatch.undo()

    assert saved.read_bytes() == before
    save(saved, loop, RUN)
    assert restore(saved, fresh(), RUN).rows == ROWS
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_full_disk_is_named_by_the_checkpoint_that_stays(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(FileError, match=rf"^{saved}: .*found: I/O error: No space left on device"):
        save(saved, fresh(), RUN)

    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_truncated_file_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    for length in (0, 4, 100, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=f"{saved}: expected a checkpoint, found"):
            restore(saved, fresh(), RUN)


def test_any_changed_byte_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    draw = random.Random(0)
    for place in [draw.randrange(len(content)) for _ in range(60)]:
        changed = bytearray(content)
        changed[place] ^= 1 << draw.randrange(8)
        saved.write_bytes(changed)
        with pytest.raises(CheckpointError, match=str(saved)):
            restore(saved, fresh(), RUN)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="expected a checkpoint, found 'digest'"):
        restore(path, fresh(), RUN)


@pytest.mark.parametrize(
    ("field", "change"),
    [("source", "another log"), ("since_ms", None), ("seed", 6)],
)
def test_another_run_is_refused_by_the_field_that_differs(saved: Path, field: str, change: object) -> None:
    loop = fresh()
    before = everything(loop, saved.parent)

    with pytest.raises(CheckpointError, match=f"is of another run: expected {field} {change!r}, found"):
        restore(saved, loop, RUN.model_copy(update={field: change}))

    assert everything(loop, saved.parent) == before


def test_the_end_may_be_another_one_after_what_was_learned(saved: Path) -> None:
    reached = restore(saved, fresh(), RUN)
    assert reached.watermark_ms is not None
    later = RUN.model_copy(update={"until_ms": reached.watermark_ms + 1})
    assert restore(saved, fresh(), later) == reached

    earlier = RUN.model_copy(update={"until_ms": reached.watermark_ms})
    with pytest.raises(CheckpointError, match="expected an end after what was learned, which is up to"):
        restore(saved, fresh(), earlier)


def test_another_format_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT", FORMAT + 1)
    expected = rf"expected a checkpoint of format {FORMAT + 1}, found {FORMAT}; train without"
    with pytest.raises(CheckpointError, match=expected):
        restore(saved, fresh(), RUN)


def test_a_checkpoint_from_before_formats_were_named_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    save_file({"model/x": torch.zeros(3)}, path, metadata={"position": "{}", "encoder": "{}", "digest": "0"})
    expected = f"expected a checkpoint of format {FORMAT}, found an older one"
    with pytest.raises(CheckpointError, match=expected):
        restore(path, fresh(), RUN)


def test_another_spec_is_refused(saved: Path) -> None:
    spec = small_spec(experts=2)
    run = RunIdentity.of(spec, source=RUN.source, since_ms=1, until_ms=None, seed=5)
    expected = r"is of another run: expected spec network > experts: 2, found 3; train without --resume"
    with pytest.raises(CheckpointError, match=expected):
        restore(saved, TrainingLoop(Trainer(spec, seed=5)), run)


def test_no_part_of_it_is_a_pickle(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        assert set(file.metadata()) == {"format", "run", "reached", "encoder", "digest"}
        assert {name.split("/")[0] for name in file.keys()} == {  # noqa: SIM118 (not a mapping)
            "model",
            "dense",
            "sparse",
            "average",
            "metrics",
            "correction",
            "plausibility",
            "features",
            "recent",
            "waiting",
            "trained",
            "random",
        }
