import errno
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranker.bundles.registry import Registry
from ranker.errors import (
    FileError,
    LockedError,
    NonFiniteLossError,
    RegistryError,
    SourceError,
    WatchnextError,
)
from ranker.files.lock import locked
from tests.ranker.small_spec import SMALL_SPEC
from tests.training.record_source import RecordSource
from tests.training.small_run import RECORDS, TIMES, config, everything_in, start, weights
from training.report import METRICS_FILE
from training.run import CHECKPOINT_FILE, LOCK_FILE, RunConfig
from training.trainer import Trainer


def test_a_run_publishes_what_it_has_learned(tmp_path: Path) -> None:
    result = start(config(tmp_path))

    registry = Registry(str(tmp_path))
    assert registry.current() == result.model_version
    manifest = registry.manifest(result.model_version)
    assert (manifest.rows, manifest.watermark_ms, manifest.source) == (400, TIMES[-1], "records")
    assert manifest.metrics == result.trainer.metrics.total()


def test_bounds_choose_the_rows_and_are_in_the_manifest(tmp_path: Path) -> None:
    since_ms, until_ms = int(TIMES[100]), int(TIMES[300])
    result = start(config(tmp_path, since_ms=since_ms, until_ms=until_ms))

    manifest = Registry(str(tmp_path)).manifest(result.model_version)
    assert (manifest.rows, manifest.since_ms, manifest.until_ms) == (200, since_ms, until_ms)
    assert manifest.watermark_ms == TIMES[299]


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    weight = RECORDS.column("weight").to_numpy().copy()
    weight[150] = np.inf
    broken = RECORDS.set_column(RECORDS.schema.get_field_index("weight"), "weight", pa.array(weight))
    with pytest.raises(NonFiniteLossError, match="rows 128 to 159"):
        start(config(tmp_path, broken))

    resumed = start(config(tmp_path, RECORDS, resume=True))
    assert weights(resumed) == weights(start(config(tmp_path / "whole")))


def test_bounds_without_rows_leave_everything_as_it_was(tmp_path: Path) -> None:
    start(config(tmp_path))
    before = everything_in(tmp_path)

    with pytest.raises(
        SourceError, match="records: expected examples within --since and --until, and not within --late-by"
    ):
        start(config(tmp_path, since_ms=int(TIMES[-1]) + 1))

    assert everything_in(tmp_path) == before


def test_a_source_without_a_feature_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    records = RECORDS.drop_columns(["age"])
    with pytest.raises(SourceError, match="records: feature 'age' expects a column 'age'"):
        start(config(tmp_path, records))
    assert list(tmp_path.iterdir()) == []


def test_a_second_trainer_is_refused_before_it_touches_anything(tmp_path: Path) -> None:
    start(config(tmp_path))
    folder = config(tmp_path).folder
    before = everything_in(tmp_path)

    said = rf"^{folder}: process {os.getpid()} on .* since"
    with locked(folder / LOCK_FILE, "the first"), pytest.raises(LockedError, match=said):
        start(config(tmp_path, seed=1))
    assert everything_in(tmp_path) == before


def test_a_trainer_of_another_spec_may_use_the_registry_meanwhile(tmp_path: Path) -> None:
    other = tmp_path / "runs" / "other"
    other.mkdir(parents=True)
    with locked(other / LOCK_FILE, "the other"):
        start(config(tmp_path))
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize("damage", ["current.json", "bundles"])
def test_a_registry_that_could_not_take_the_bundle_is_refused_before_the_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    if damage == "bundles":
        (tmp_path / "bundles").write_text("no folder")
    else:
        (tmp_path / "current.json").write_text("no JSON")

    def fail(*_: object) -> None:
        pytest.fail("a row was learned")

    monkeypatch.setattr(Trainer, "step", fail)
    with pytest.raises(WatchnextError, match=f"{tmp_path}.*expected"):
        start(config(tmp_path))


def test_a_filesystem_without_its_package_is_refused_before_the_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", lacking)
    with pytest.raises(RegistryError, match=r"^s3://bucket/x: .*found: Install s3fs"):
        start(RunConfig(SMALL_SPEC, RecordSource(RECORDS), "s3://key:hunter2@bucket/x"))


@pytest.mark.parametrize(
    "spelling", ["~/reg", "file:{0}/reg", "file://{0}/reg", "local:{0}/reg", "local://{0}/reg"]
)
def test_the_runs_folder_is_in_the_registry_however_it_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    named = RunConfig(SMALL_SPEC, RecordSource(RECORDS), spelling.format(tmp_path))
    assert named.folder == tmp_path / "reg" / "runs" / "small"


def test_a_source_that_no_file_can_name_is_refused_before_the_pass(tmp_path: Path) -> None:
    source = RecordSource(RECORDS)
    source.name = "log \udcff"
    with pytest.raises(SourceError, match=r"'log \\udcff': expected the name of a log in UTF-8"):
        start(RunConfig(SMALL_SPEC, source, str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    start(config(tmp_path))
    folder = config(tmp_path).folder
    half = folder / f".{CHECKPOINT_FILE}.0123.new"
    half.write_bytes(b"half")
    start(config(tmp_path))
    assert not half.exists()


def test_a_full_disk_ends_the_run_with_the_name_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.flush", full)
    with pytest.raises(FileError, match=r"runs/small: .*found: No space left on device"):
        start(config(tmp_path))


def test_a_registry_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(RegistryError, match="taken/runs/small: expected a folder to write to"):
        start(config(tmp_path / "taken"))


def test_metrics_of_the_windows_are_kept_as_parquet(tmp_path: Path) -> None:
    result = start(config(tmp_path))
    found = pq.read_table(tmp_path / "runs" / "small" / METRICS_FILE)
    assert found.equals(result.trainer.metrics.rows(with_open=True))
    assert len(found["window_end_ms"].unique()) > 3
