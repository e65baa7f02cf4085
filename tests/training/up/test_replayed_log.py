"""A log that is played back in place of simulated viewers: what is learned first, and what is sent then."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.errors import SourceError
from ranker.spec_file import dump_spec
from tests.ranker.small_spec import SMALL_SPEC, random_records
from tests.training.record_source import RecordSource
from training.up.replayed_log import ReplayedLog

FIRST_MS = 1_700_000_000_000


@pytest.fixture
def log(tmp_path: Path) -> ReplayedLog:
    records = random_records(400)
    times = pa.array(FIRST_MS + 1_500 * np.arange(400))
    records = records.set_column(records.schema.get_field_index("time_ms"), "time_ms", times)
    (tmp_path / "log").mkdir()
    pq.write_table(pa.Table.from_batches([records]), tmp_path / "log" / "events.parquet")
    (tmp_path / "spec.yaml").write_text(dump_spec(SMALL_SPEC))
    return ReplayedLog(tmp_path, str(tmp_path / "log"), str(tmp_path / "spec.yaml"), speed=60.0)


def test_its_first_part_is_learned_and_the_rest_is_sent(log: ReplayedLog) -> None:
    assert log.begins_ms == FIRST_MS + 119_000  # a fifth of 598.5 s, in whole seconds

    log.prepare(Console(quiet=True))

    registry = Registry(str(log.folder / "registry"))
    manifest = registry.read().manifest
    assert manifest.watermark_ms is not None
    assert manifest.watermark_ms < log.begins_ms
    assert manifest.rows == 80
    arguments = log.arguments("http://127.0.0.1:1")
    options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    assert arguments[0] == "replay"
    assert options["--since"] == "2023-11-14T22:15:19Z"
    assert (options["--speed"], options["--wait"]) == ("60.0", log.follow["--wait"])
    assert log.example()["candidates"][0]["id"]


def test_what_ranks_already_is_not_learned_again(log: ReplayedLog) -> None:
    log.prepare(Console(quiet=True))
    version = Registry(str(log.folder / "registry")).current()

    again = ReplayedLog(log.folder, log.data, log.spec, first=0.5)
    again.prepare(Console(quiet=True))

    assert Registry(str(log.folder / "registry")).versions() == [version]


def test_a_log_that_does_not_say_from_when_to_when_it_is_is_read(
    log: ReplayedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = log.begins_ms
    again = ReplayedLog(log.folder, log.data, log.spec)
    monkeypatch.setattr(type(log.opened), "time_range", lambda _: None)
    assert again.begins_ms == expected

    empty = ReplayedLog(log.folder, log.data, log.spec)
    nothing = RecordSource(random_records(1).slice(0, 0))
    monkeypatch.setattr("training.up.replayed_log.open_source", lambda *_: nothing)
    monkeypatch.setattr(RecordSource, "time_range", lambda _: None)
    with pytest.raises(SourceError, match="records: expected rows to play back, found none"):
        _ = empty.begins_ms
