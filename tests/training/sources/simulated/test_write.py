import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranker.errors import SourceError
from training.sources.parquet import ParquetSource
from training.sources.simulated.population import WorldConfig
from training.sources.simulated.source import SimulatedSource
from training.sources.simulated.world_file import WorldFile
from training.sources.simulated.write import write_simulation

TIMES = ["time_ms", "upload_time_ms", "query_upload_time_ms"]
CONFIG = WorldConfig(viewers=100, authors=20, uploads_per_day=40, catalogue_days=2, requests_per_day=2_000)


def test_the_folder_reads_back_as_the_source(tmp_path: Path) -> None:
    rows = write_simulation(tmp_path / "log", days=2, seed=1, config=CONFIG)

    written, made = ParquetSource(str(tmp_path / "log")), SimulatedSource(days=2, seed=1, config=CONFIG)
    assert rows == 40_000
    for found, expected in (
        (written.records(4096), made.records(4096)),
        (written.users(), made.users()),
        (written.videos(), made.videos()),
    ):
        assert pa.Table.from_batches(found).equals(pa.Table.from_batches(expected))


def test_every_day_is_a_file_of_several_row_groups(tmp_path: Path) -> None:
    write_simulation(tmp_path / "log", days=2, seed=1, config=CONFIG)

    names = sorted(path.name for path in (tmp_path / "log").iterdir())
    assert names == [
        "2026-01-01.parquet",
        "2026-01-02.parquet",
        "users.parquet",
        "videos.parquet",
        "world.json",
    ]
    assert pq.ParquetFile(tmp_path / "log" / "2026-01-02.parquet").num_row_groups == 3


def test_a_world_that_runs_faster_has_the_same_log_and_ends_now(tmp_path: Path) -> None:
    began_ms = time.time_ns() // 1_000_000
    write_simulation(tmp_path / "log", days=2, seed=1, config=CONFIG, speed=1_440)

    found = pa.Table.from_batches(ParquetSource(str(tmp_path / "log")).records(4096))
    made = pa.Table.from_batches(SimulatedSource(days=2, seed=1, config=CONFIG).records(4096))
    times = found["time_ms"].to_numpy()
    assert began_ms - 120_000 <= times[0] <= times[-1] <= time.time_ns() // 1_000_000
    world_times = made["time_ms"].to_numpy()
    np.testing.assert_allclose(times - times[0], (world_times - world_times[0]) / 1_440, atol=1)
    assert found.drop_columns(TIMES).equals(made.drop_columns(TIMES))
    world = WorldFile.read(tmp_path / "log")
    assert (world.config, world.seed, world.days) == (CONFIG, 1, 2)
    assert world.event_ms(world_times).tolist() == times.tolist()


def test_a_log_without_its_world_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"world.json: expected the file that `watchnext simulate` writes"):
        WorldFile.read(tmp_path)
    (tmp_path / "world.json").write_text("{}")
    with pytest.raises(SourceError, match="expected a simulated world, found: Field required"):
        WorldFile.read(tmp_path)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(SourceError, match="expected a new or empty folder"):
        write_simulation(tmp_path, days=1, seed=0, config=CONFIG)

    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failure_half_way_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: SimulatedSource) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(SimulatedSource, "videos", fail)
    with pytest.raises(SourceError, match=r"expected a folder that can be written, found: disk full"):
        write_simulation(tmp_path / "log", days=1, seed=0, config=CONFIG)

    assert list(tmp_path.iterdir()) == []
