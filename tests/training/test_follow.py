"""Following the log of events in one process: what is learned, published, kept, and gone on from."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.errors import BundleError, CheckpointError
from ranker.stream.event_log import BEGINNING, Entry, RedisEventLog
from tests.ranker.small_spec import random_records
from tests.training.live_log import BEGAN_MS, LIVE_SPEC, WAIT_S, joined_by_search, random_log, write
from tests.training.record_source import RecordSource
from training import follow as module
from training.archive import ArchiveConfig, archive
from training.checkpoint import _read
from training.follow import FollowConfig, follow
from training.run import CHECKPOINT_FILE, RunConfig, RunResult, run
from training.sources import live
from training.sources.live import LiveSource
from training.sources.parquet import ParquetSource
from training.stopping import StopSignals
from training.trainer import Trainer

PUBLISH_MS = 4_000


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for entries that do not come."""
    monkeypatch.setattr(live, "POLL_S", 0.001)
    monkeypatch.setattr(live, "PAUSE_S", 0.0)


class WhenIdle(StopSignals):
    """Stops a trainer that has found nothing to learn twice."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_in_vain = 0

    def asked(self) -> bool:
        self.asked_in_vain += 1
        return self.asked_in_vain > 2 or super().asked()


def config(client: redis.Redis, folder: Path, **other: Any) -> FollowConfig:
    usual: dict[str, Any] = {
        "wait_s": WAIT_S,
        "publish_every_ms": PUBLISH_MS,
        "checkpoint_every_s": 1000.0,
        "flush_s": 2.0,
    }
    return FollowConfig(LIVE_SPEC, client, str(folder), **usual | other)


def start(config: FollowConfig) -> RunResult | None:
    """Follow until there is nothing left to learn."""
    stop = WhenIdle()
    step = Trainer.step

    def working(trainer: Trainer, batch: pa.RecordBatch) -> object:
        stop.asked_in_vain = 0
        return step(trainer, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", working)
        return follow(config, Console(file=io.StringIO()), stop=stop, live=False)


def kept(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The checkpoint: its rows and watermark, and all tensors."""
    header, tensors = _read(folder / "runs" / "small" / CHECKPOINT_FILE, "")
    reached = json.loads(header["reached"])
    return reached, {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def versions(folder: Path) -> list[str]:
    return Registry(str(folder)).versions()


def interrupt(config: FollowConfig, *, after_rows: int) -> None:
    """Follow, and end in the middle as if killed."""
    step = Trainer.step

    def interrupted(trainer: Trainer, batch: pa.RecordBatch) -> object:
        if trainer.rows >= after_rows:
            raise KeyboardInterrupt
        return step(trainer, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            start(config)


def test_every_row_is_learned_once_in_the_batches_of_the_source(client: redis.Redis, tmp_path: Path) -> None:
    entries = random_log(80, seed=1)
    write(client, entries)

    result = start(config(client, tmp_path))

    assert result is not None
    assert result.trainer.rows == result.new_rows == len(joined_by_search(entries))
    trainer = Trainer(LIVE_SPEC, seed=0)
    source = LiveSource(LIVE_SPEC, client, wait_s=WAIT_S, stop=lambda: False, flush_s=2)
    for batch in source.batches(32, until_ms=BEGAN_MS + 10**6):
        trainer.step(batch.records)
    expected = trainer.model.state_dict()
    assert all(tensor.equal(expected[name]) for name, tensor in result.trainer.model.state_dict().items())


def test_bundles_are_published_by_event_time_and_at_the_end(client: redis.Redis, tmp_path: Path) -> None:
    entries = random_log(150, seed=2)
    write(client, entries)
    passed = {row["time_ms"] // PUBLISH_MS for row in joined_by_search(entries)}

    result = start(config(client, tmp_path))

    assert result is not None
    registry = Registry(str(tmp_path))
    learned = [registry.manifest(version).rows for version in registry.versions()]
    assert len(passed) > 3
    assert len(passed) <= len(learned) <= len(passed) + 1  # one behind each, and one at the end
    assert learned == sorted(set(learned))
    assert registry.current() == result.model_version == registry.versions()[-1]
    assert result.published
    again = start(config(client, tmp_path))
    assert again is not None
    assert (again.new_rows, again.published, again.model_version) == (0, False, result.model_version)


@pytest.mark.parametrize("after_rows", [1, 64, 150, 300])
def test_one_that_was_killed_ends_as_one_that_never_was(
    client: redis.Redis, tmp_path: Path, after_rows: int
) -> None:
    write(client, random_log(150, seed=3))
    start(config(client, tmp_path / "whole"))

    interrupt(config(client, tmp_path / "other"), after_rows=after_rows)
    start(config(client, tmp_path / "other"))

    assert kept(tmp_path / "other") == kept(tmp_path / "whole")
    assert versions(tmp_path / "other") == versions(tmp_path / "whole")
    metrics = [pq.read_table(tmp_path / name / "runs/small/metrics.parquet") for name in ("whole", "other")]
    assert metrics[0].equals(metrics[1])


def parts(entries: list[Entry]) -> tuple[list[Entry], list[Entry]]:
    """A log in two parts, with more between them than any feedback waits."""
    middle = len(entries) // 2
    cut = next(at for at in range(middle, len(entries)) if entries[at].id.ms - entries[at - 1].id.ms > 20_000)
    return entries[:cut], entries[cut:]


def test_what_is_trimmed_is_not_needed_to_go_on(client: redis.Redis, tmp_path: Path) -> None:
    first, second = parts(random_log(60, seed=4, pause_ms=600_000))
    rare = {"publish_every_ms": 10**9}
    write(client, first + second)
    start(config(client, tmp_path / "whole", **rare))
    client.flushall()

    write(client, first)
    start(config(client, tmp_path / "other", **rare))
    log = RedisEventLog(client)
    assert log.extent().entries < len(first) / 2
    assert log.readers()["small"] > first[0].id
    assert log.done()["small"] > first[-1].id.ms - 1_000_000
    write(client, second)
    start(config(client, tmp_path / "other", **rare))

    assert kept(tmp_path / "other") == kept(tmp_path / "whole")


def test_nothing_is_trimmed_before_the_checkpoint_is_on_the_disk(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = random_log(60, seed=4, pause_ms=600_000)
    write(client, entries)
    log = RedisEventLog(client)
    log.reached("small", entries[5].id)  # of an earlier run, whose checkpoint is gone

    def failing(*_: object, **__: object) -> None:
        assert log.readers() == {"small": BEGINNING}
        raise KeyboardInterrupt

    monkeypatch.setattr("training.run.save", failing)
    with pytest.raises(KeyboardInterrupt):
        start(config(client, tmp_path))
    assert log.extent().entries == len(entries)


def test_a_trainer_without_anything_to_learn_ends_without_a_bundle(
    client: redis.Redis, tmp_path: Path
) -> None:
    assert start(config(client, tmp_path)) is None
    assert versions(tmp_path) == []
    assert RedisEventLog(client).readers() == {"small": BEGINNING}
    write(client, random_log(20, seed=1))
    assert start(config(client, tmp_path)) is not None


@pytest.mark.parametrize("after_rows", [64, 200, 400])
def test_a_log_at_rest_is_learned_first_and_published(
    client: redis.Redis, tmp_path: Path, after_rows: int
) -> None:
    entries = random_log(80, seed=5)
    write(client, entries)
    at_rest: Callable[[], RecordSource] = lambda: RecordSource(random_records(300))  # noqa: E731

    result = start(config(client, tmp_path / "whole", at_rest=at_rest))
    assert result is not None
    assert result.trainer.rows == 300 + len(joined_by_search(entries))
    manifests = [Registry(str(tmp_path / "whole")).manifest(v) for v in versions(tmp_path / "whole")]
    assert min(manifest.rows for manifest in manifests) == 300
    assert manifests[0].source == "records, then the log of events"

    interrupt(config(client, tmp_path / "other", at_rest=at_rest), after_rows=after_rows)
    start(config(client, tmp_path / "other", at_rest=at_rest))
    assert kept(tmp_path / "other") == kept(tmp_path / "whole")
    assert versions(tmp_path / "other") == versions(tmp_path / "whole")


def test_who_has_trained_on_the_log_at_rest_goes_on_with_the_log_of_events(
    client: redis.Redis, tmp_path: Path
) -> None:
    write(client, random_log(80, seed=5))
    source = RecordSource(random_records(300))
    start(config(client, tmp_path / "whole", at_rest=lambda: source))

    run(RunConfig(LIVE_SPEC, source, str(tmp_path / "other")), Console(file=io.StringIO()), live=False)
    result = start(config(client, tmp_path / "other", at_rest=lambda: source))

    assert result is not None
    assert result.new_rows == result.trainer.rows - 300
    assert kept(tmp_path / "other") == kept(tmp_path / "whole")


def test_rows_not_later_than_the_log_at_rest_are_left_out(client: redis.Redis, tmp_path: Path) -> None:
    entries = random_log(80, seed=5)
    write(client, entries)
    rows = joined_by_search(entries)
    newest_ms = rows[100]["time_ms"]
    records = random_records(300)
    times = pa.array([*range(300)], pa.int64())
    times = pa.compute.add(times, newest_ms - 299)
    records = records.set_column(0, "time_ms", times)

    result = start(config(client, tmp_path, at_rest=lambda: RecordSource(records)))

    assert result is not None
    assert result.trainer.rows == 300 + sum(row["time_ms"] > newest_ms for row in rows)


def test_an_archive_of_the_log_is_gone_on_from_without_a_gap(client: redis.Redis, tmp_path: Path) -> None:
    first, second = parts(random_log(60, seed=6, pause_ms=100_000))
    write(client, first)
    archived = archive(
        ArchiveConfig(LIVE_SPEC, client, tmp_path / "archive", WAIT_S, rows_per_file=20), stop=idle()
    )
    assert archived.files > 3
    write(client, second)

    source = ParquetSource(str(tmp_path / "archive"))
    result = start(config(client, tmp_path, at_rest=lambda: source, publish_every_ms=10**9))

    assert result is not None
    assert result.trainer.rows == len(joined_by_search(first + second))
    assert archived.rows == len(joined_by_search(first))


def idle() -> Callable[[], bool]:
    """Stops a reader once it has read what there is."""
    asked = iter(range(3))
    return lambda: next(asked, None) is None


def test_the_checkpoint_of_another_run_is_refused_and_the_message_says_how_to_start_anew(
    client: redis.Redis, tmp_path: Path
) -> None:
    write(client, random_log(30, seed=1))
    start(config(client, tmp_path))

    with pytest.raises(CheckpointError, match="expected seed 1, found 0; train --follow --restart to start"):
        start(config(client, tmp_path, seed=1))
    log = RedisEventLog(client)
    before = log.readers()
    log.forget("small")
    with pytest.raises(CheckpointError):
        start(config(client, tmp_path, seed=1))
    assert log.readers() == {}  # who does not read keeps nothing from being trimmed
    log.reached("small", before["small"])
    with pytest.raises(CheckpointError):
        start(config(client, tmp_path, seed=1))
    assert log.readers() == before
    result = start(config(client, tmp_path, seed=1, restart=True))
    assert result is not None
    assert result.new_rows == result.trainer.rows


def test_a_bundle_that_is_not_plausible_is_said_and_training_goes_on(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entries = random_log(150, seed=2)
    write(client, entries)
    publish = module.publish

    def once_broken(*arguments: Any) -> str:
        if len(caplog.records) == 0:
            raise BundleError("expected plausible numbers")
        return publish(*arguments)

    monkeypatch.setattr(module, "publish", once_broken)
    result = start(config(client, tmp_path))

    assert result is not None
    assert result.trainer.rows == len(joined_by_search(entries))
    assert "nothing was published after" in caplog.text
    assert len(versions(tmp_path)) > 1
