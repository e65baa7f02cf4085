"""Learning a log at rest, or an archive, and going on in the log of events."""

import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import redis
from rich.console import Console

from ranker.bundles.registry import Registry
from tests.ranker.small_spec import random_records
from tests.training.followers import config, idle, interrupt, kept, parts, start, versions
from tests.training.live_log import LIVE_SPEC, WAIT_S, joined_by_search, random_log, write
from tests.training.record_source import RecordSource
from training.archive import ArchiveConfig, archive
from training.run import RunConfig, run
from training.sources.parquet import ParquetSource


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
