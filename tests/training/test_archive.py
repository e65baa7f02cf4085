"""The archive of the log of events: what its files have, and going on behind them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis

from ranker.errors import FileError, LockedError
from ranker.event_times import TimeRange
from ranker.files.lock import locked
from ranker.stream.redis_event_log import RedisEventLog
from ranker.stream.rejected import rejected_counts
from tests.training.live_log import LIVE_SPEC, WAIT_S, joined_by_search, random_log, write
from training import archive as module
from training.archive import LOCK_FILE, ArchiveConfig, Archived, archive, offset_after, offset_of
from training.sources import live
from training.sources.parquet import ParquetSource
from training.trainer import Trainer

HOURS = random_log(120, seed=7, pause_ms=600_000)
"""A log of a few hours."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for entries that do not come."""
    monkeypatch.setattr(live, "POLL_S", 0.001)
    monkeypatch.setattr(live, "PAUSE_S", 0.0)


def idle() -> Callable[[], bool]:
    """Stops a reader once it has read what there is."""
    asked = iter(range(3))
    return lambda: next(asked, None) is None


def run(client: redis.Redis, folder: Path, rows_per_file: int = 25) -> Archived:
    return archive(ArchiveConfig(LIVE_SPEC, client, folder, WAIT_S, rows_per_file), stop=idle())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(folder: Path) -> list[dict[str, Any]]:
    return [row for batch in ParquetSource(str(folder)).records(64) for row in batch.to_pylist()]


def test_its_files_are_a_log_that_other_commands_read(client: redis.Redis, tmp_path: Path) -> None:
    write(client, HOURS)
    expected = joined_by_search(HOURS)

    archived = run(client, tmp_path)

    source = ParquetSource.open(str(tmp_path), TimeRange.plausible(HOURS[-1].id.ms))
    LIVE_SPEC.check_schema(source.schema, where="the archive")
    rows = [row for batch in source.records(64) for row in batch.to_pylist()]
    assert [{name: row[name] for name in expected[0]} for row in rows] == expected
    assert archived == Archived(len(files(tmp_path)), len(expected))
    assert {(row["model_version"], row["score_policy"], row["score_version"]) for row in rows} == {
        ("m1", "default", "s1")
    }
    assert {row["propensity"] for row in rows} == {1.0}
    assert max(row["score"] for row in rows) == 1.0
    trainer = Trainer(LIVE_SPEC, seed=0)
    for batch in source.records(64):
        trainer.step(batch)
    assert trainer.rows == len(expected)


def test_a_file_has_the_rows_of_an_hour_or_of_a_part_of_it(client: redis.Redis, tmp_path: Path) -> None:
    write(client, HOURS)
    run(client, tmp_path)

    hours = []
    for path in sorted(tmp_path.rglob("*.parquet")):
        found = pq.read_table(path)
        (hour,) = {time_ms // 3_600_000 for time_ms in found["time_ms"].to_pylist()}
        hours.append(hour)
        assert path.name == f"part-{found['entry_id'][0]}.parquet"
        assert path.parent.name == f"hour={hour % 24:02}"
        assert path.parent.parent.name.startswith("date=2026-09-")
    assert len(set(hours)) > 3
    assert len(hours) > len(set(hours))
    sizes = [pq.read_metadata(path).num_rows for path in tmp_path.rglob("*.parquet")]
    assert 25 < max(sizes) < 50  # rows of one time are not divided


@pytest.mark.parametrize("files_before", [0, 1, 2, 5])
def test_one_that_was_killed_writes_the_files_of_one_that_never_was(
    client: redis.Redis, tmp_path: Path, files_before: int
) -> None:
    write(client, HOURS)
    log = RedisEventLog(client)
    log.reached("another reader", HOURS[0].id)  # so that both find the whole log
    run(client, tmp_path / "whole")
    left, replacing = iter(range(files_before)), module.replacing

    def killed(path: Path) -> Any:
        if next(left, None) is None:
            (path.parent / f".{path.name}.0123.new").write_bytes(b"half")
            raise KeyboardInterrupt
        return replacing(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "replacing", killed)
        with pytest.raises(KeyboardInterrupt):
            run(client, tmp_path / "other")
    run(client, tmp_path / "other")

    assert files(tmp_path / "other") == files(tmp_path / "whole")


def test_it_goes_on_behind_the_newest_file_and_the_log_drops_what_is_archived(
    client: redis.Redis, tmp_path: Path
) -> None:
    write(client, HOURS)
    run(client, tmp_path)
    log = RedisEventLog(client)
    assert log.extent().entries < len(HOURS) / 4
    before = files(tmp_path)

    more = random_log(60, seed=8, pause_ms=600_000, began_ms=HOURS[-1].id.ms + 7_200_000)
    write(client, more)
    run(client, tmp_path)

    assert before.items() < files(tmp_path).items()
    assert [row["entry_id"] for row in read(tmp_path)] == [
        row["entry_id"] for row in joined_by_search([*HOURS, *more])
    ]


def test_an_hour_that_is_not_over_is_left_for_later(client: redis.Redis, tmp_path: Path) -> None:
    now_ms = RedisEventLog(client).now_ms()
    began_ms = max(now_ms // 3_600_000 * 3_600_000, now_ms - 60_000)
    write(client, random_log(20, seed=1, pause_ms=10, began_ms=began_ms))

    assert run(client, tmp_path, rows_per_file=1000) == Archived(0, 0)


def test_it_counts_what_is_set_aside_if_nobody_else_reads(client: redis.Redis, tmp_path: Path) -> None:
    write(client, HOURS)
    log = RedisEventLog(client)
    log.reached("trainer", HOURS[0].id)
    run(client, tmp_path / "one")
    assert rejected_counts(client) == {}
    for reader in log.readers():
        log.forget(reader)

    run(client, tmp_path / "two")

    assert rejected_counts(client).keys() >= {"unknown request", "too late", "repeated"}


def test_a_second_one_in_the_same_folder_is_refused(client: redis.Redis, tmp_path: Path) -> None:
    with locked(tmp_path / LOCK_FILE, "the first"), pytest.raises(LockedError):
        run(client, tmp_path)


def test_a_file_of_other_origin_is_named(client: redis.Redis, tmp_path: Path) -> None:
    path = tmp_path / "date=2026-11-27" / "hour=03" / "part-1-0.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"junk")

    with pytest.raises(FileError, match=r"part-1-0.parquet: expected a file of an archive of events"):
        run(client, tmp_path)


def test_a_source_says_where_the_log_goes_on_only_if_it_is_an_archive(
    client: redis.Redis, tmp_path: Path
) -> None:
    write(client, HOURS)
    run(client, tmp_path / "archive")
    newest = max((tmp_path / "archive").rglob("*.parquet"), key=lambda path: path.name)

    assert offset_after(ParquetSource(str(tmp_path / "archive"))) == offset_of(newest)

    pq.write_table(pq.read_table(newest).replace_schema_metadata(None), tmp_path / "log.parquet")
    assert offset_after(ParquetSource(str(tmp_path / "log.parquet"))) is None
