from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranker.errors import SourceError
from ranker.event_times import TimeRange
from tests.training.sources.kuairand.small_kuairand import impression, write_kuairand
from training.sources.kuairand.source import KuaiRandSource
from training.sources.parquet import ParquetSource
from training.sources.registry import open_source
from training.sources.simulated.source import SimulatedSource


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    path = tmp_path / "logs" / "day" / "x.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"time_ms": [1_750_000_000_000], "user_id": [1], "video_id": [1]}), path)
    return path


@pytest.mark.parametrize("source", [None, "kuairand"])
def test_kuairands_layout_is_recognised(tmp_path: Path, source: str | None) -> None:
    write_kuairand(tmp_path / "data", [impression(1, 10, 5)], gzipped=True)

    assert isinstance(open_source(str(tmp_path), source), KuaiRandSource)


@pytest.mark.parametrize("source", [None, "parquet"])
@pytest.mark.parametrize(
    "data", ["{}/logs/day/x.parquet", "{}/logs", "{}/logs/*/*.parquet", "file://{}/logs"]
)
def test_parquet_is_recognised(tmp_path: Path, parquet: Path, data: str, source: str | None) -> None:
    assert isinstance(open_source(data.format(tmp_path), source), ParquetSource)


def test_the_plausible_times_are_those_since_2000_unless_others_are_given(tmp_path: Path) -> None:
    ids = {"user_id": ["1"], "video_id": ["1"]}
    pq.write_table(pa.table({"time_ms": [5], **ids}), tmp_path / "x.parquet")
    write_kuairand(tmp_path / "kuairand", [impression(1, 10, 5)])

    for data in (tmp_path / "x.parquet", tmp_path / "kuairand"):
        with pytest.raises(SourceError, match="in milliseconds since 1970, from 2000-01-01T"):
            list(open_source(str(data)).records(10))
        [batch] = open_source(str(data), times=TimeRange(0, 10)).records(10)
        assert batch.column("time_ms").to_pylist() == [5]


@pytest.mark.parametrize("source", [None, "simulated"])
def test_no_data_is_the_simulated_world(source: str | None) -> None:
    assert isinstance(open_source(None, source), SimulatedSource)


@pytest.mark.parametrize(
    ("files", "data", "found"),
    [
        (["notes.txt", "log.csv"], "", "log.csv, notes.txt$"),
        ([f"{i:02}.txt" for i in range(30)], "", r"08.txt, 09.txt, \.\.\.$"),
        ([], "", "an empty folder$"),
        ([], "gone", "no such file or folder$"),
        (["log.csv"], "log.csv", "a file of another kind$"),
    ],
)
def test_what_is_not_recognised_is_told_with_what_was_looked_for(
    tmp_path: Path, files: list[str], data: str, found: str
) -> None:
    for name in files:
        (tmp_path / name).write_text("")

    with pytest.raises(
        SourceError, match=rf"expected KuaiRand's log_standard.*\*\.parquet.*; found .*{found}"
    ):
        open_source(str(tmp_path / data))


@pytest.mark.parametrize(
    ("data", "source", "message"),
    [
        (None, "csv", "--source: expected kuairand, parquet, simulated, found 'csv'"),
        (None, "parquet", "--source parquet: expected --data, found none"),
        ("x", "simulated", "expected no --data, found 'x'"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    data: str | None, source: str | None, message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(data, source)
