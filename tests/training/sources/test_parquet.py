import random
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranker.errors import SourceError
from training.sources.parquet import ParquetSource


def log(times: list[int], **columns: object) -> pa.Table:
    rows = len(times)
    ids = {"user_id": [f"u{time % 3}" for time in times], "video_id": list(range(rows))}
    return pa.table({"time_ms": pa.array(times, pa.int64()), **ids, **columns})


def write(path: Path, table: pa.Table, *, group_rows: int = 4, statistics: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group_rows, write_statistics=statistics)


def times_of(source: ParquetSource, rows: int = 5) -> list[int]:
    return [time for batch in source.records(rows) for time in batch["time_ms"].to_pylist()]


def test_files_are_merged_by_time_across_folders(tmp_path: Path) -> None:
    write(tmp_path / "b" / "1.parquet", log(list(range(0, 40, 2))))
    write(tmp_path / "a.parquet", log(list(range(1, 41, 2))))

    assert times_of(ParquetSource(str(tmp_path))) == list(range(40))


@pytest.mark.parametrize("statistics", [True, False])
def test_shuffled_row_groups_are_sorted(tmp_path: Path, statistics: bool) -> None:
    times = list(range(100))
    random.Random(0).shuffle(times)
    write(tmp_path / "log.parquet", log(times), statistics=statistics)

    assert times_of(ParquetSource(str(tmp_path / "log.parquet"))) == list(range(100))


def test_late_rows_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", log([0, 1, 2, 90]))
    write(tmp_path / "2.parquet", log([0, 3, 4, 5]))
    source = ParquetSource(str(tmp_path), reorder_rows=1)

    assert times_of(source) == [0, 1, 2, 3, 4, 5, 90]
    assert source.late_rows == 1


def test_late_rows_are_refused_by_choice(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", log([0, 1, 2, 90]))
    write(tmp_path / "2.parquet", log([0, 3, 4, 5]))

    with pytest.raises(SourceError, match=r"2\.parquet, row group 0: expected rows from time_ms 2 on"):
        times_of(ParquetSource(str(tmp_path), late="refuse", reorder_rows=1))


def test_globs_and_urls_name_logs_too(tmp_path: Path) -> None:
    write(tmp_path / "day=1" / "x.parquet", log([1, 3]))
    write(tmp_path / "day=2" / "x.parquet", log([2, 4]))
    with fsspec.open("memory://logs/x.parquet", "wb") as file:
        pq.write_table(log([7, 5]), file)

    assert times_of(ParquetSource(str(tmp_path / "day=*" / "*.parquet"))) == [1, 2, 3, 4]
    assert times_of(ParquetSource(str(tmp_path / "day=*"))) == [1, 2, 3, 4]
    assert times_of(ParquetSource(f"file://{tmp_path}/day=1")) == [1, 3]
    assert times_of(ParquetSource("memory://logs")) == [5, 7]


def test_columns_come_in_the_first_files_order_with_dictionaries_decoded(tmp_path: Path) -> None:
    table = log([1, 2], country=["de", None])
    write(tmp_path / "1.parquet", table)
    write(tmp_path / "2.parquet", table.set_column(3, "country", table["country"].dictionary_encode()))
    write(tmp_path / "3.parquet", table.select(["country", "video_id", "user_id", "time_ms"]))
    source = ParquetSource(str(tmp_path))

    (batch,) = source.records(10)

    assert batch.schema == source.schema == table.schema
    assert batch["country"].to_pylist() == ["de"] * 3 + [None] * 3


def test_tables_beside_the_log_are_users_and_videos(tmp_path: Path) -> None:
    write(tmp_path / "log.parquet", log([1]))
    write(tmp_path / "users.parquet", pa.table({"user_id": ["u0", "u1"], "age": [30, 40]}))
    write(tmp_path / "videos.parquet", pa.table({"video_id": [1], "length": [3.5]}))
    source = ParquetSource(str(tmp_path))

    assert times_of(source) == [1]
    assert pa.Table.from_batches(source.users()).to_pydict() == {"user_id": ["u0", "u1"], "age": [30, 40]}
    assert pa.Table.from_batches(source.videos()).to_pydict() == {"video_id": [1], "length": [3.5]}


def test_without_tables_users_and_videos_are_as_the_log_last_knew_them(tmp_path: Path) -> None:
    write(
        tmp_path / "2.parquet",
        pa.table(
            {
                "time_ms": [30, 20],
                "user_id": ["a", "b"],
                "video_id": [1, 2],
                "query_video_id": [2, None],
                "age": pa.array([None, 22], pa.int64()),
                "tags": [["x"], None],
            }
        ),
    )
    write(
        tmp_path / "1.parquet",
        pa.table(
            {
                "time_ms": [10, 11, 12],
                "user_id": ["a", "a", None],
                "video_id": [2, 1, 1],
                "query_video_id": [2, 2, 2],
                "age": [10, 11, 99],
                "tags": [["old"], ["y", "z"], ["n"]],
            }
        ),
    )
    source = ParquetSource(str(tmp_path))

    users = pa.Table.from_batches(source.users()).select(["user_id", "age"]).to_pylist()
    videos = pa.Table.from_batches(source.videos())

    assert users == [{"user_id": "a", "age": 11}, {"user_id": "b", "age": 22}]
    assert videos.column_names == ["video_id", "age", "tags"]
    assert dict(zip(videos["video_id"].to_pylist(), videos["tags"].to_pylist(), strict=True)) == {
        1: ["x"],
        2: ["old"],
    }


def test_a_log_without_rows_has_no_batches_and_no_users(tmp_path: Path) -> None:
    write(tmp_path / "log.parquet", log([]))
    source = ParquetSource(str(tmp_path))

    assert list(source.records(5)) == []
    assert list(source.users()) == []


@pytest.mark.parametrize("url", ["{}", "{}/*.parquet", "{}/log.parquet", "nowhere://log", "{}/users.parquet"])
def test_no_match_is_named(tmp_path: Path, url: str) -> None:
    write(tmp_path / "inner" / "users.parquet", pa.table({"user_id": [1]}))

    with pytest.raises(SourceError, match=r"expected a (log|file)"):
        ParquetSource(url.format(tmp_path))


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.parquet").write_text("time_ms,user_id\n")

    with pytest.raises(SourceError, match=r"log\.parquet: expected Parquet, found: "):
        ParquetSource(str(tmp_path))


def test_a_log_without_times_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "log.parquet", log([1]).drop_columns(["time_ms"]))

    with pytest.raises(SourceError, match=r"log\.parquet: expected a column 'time_ms'"):
        ParquetSource(str(tmp_path))


def test_a_row_group_without_times_is_refused(tmp_path: Path) -> None:
    table = log([1, 2])
    write(tmp_path / "log.parquet", table.set_column(0, "time_ms", pa.nulls(2, pa.int64())))

    with pytest.raises(
        SourceError, match=r"log\.parquet, row group 0: expected 'time_ms' in every row, found none"
    ):
        times_of(ParquetSource(str(tmp_path)))


def test_a_damaged_row_group_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    write(path, log(list(range(1000))), group_rows=1000)
    damaged = bytearray(path.read_bytes())
    damaged[4:1000] = b"\xff" * 996
    path.write_bytes(damaged)

    with pytest.raises(SourceError, match=r"log\.parquet, row group 0: expected readable Parquet, found: "):
        times_of(ParquetSource(str(tmp_path)))


def test_two_tables_of_users_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "log.parquet", log([1]))
    for folder in ("a", "b"):
        write(tmp_path / folder / "users.parquet", pa.table({"user_id": [1]}))

    with pytest.raises(
        SourceError, match=r"expected one users\.parquet, found .*a/users\.parquet, .*b/users"
    ):
        list(ParquetSource(str(tmp_path)).users())


def test_a_table_in_parts_is_one_table(tmp_path: Path) -> None:
    """Spark writes a folder of that name."""
    write(tmp_path / "log.parquet", log([1]))
    write(tmp_path / "users.parquet" / "part-0.parquet", pa.table({"user_id": [1, 2], "age": [30, 40]}))
    write(
        tmp_path / "users.parquet" / "part-1.parquet",
        pa.table({"user_id": ["x"], "age": pa.array([50], pa.int32())}),
    )
    source = ParquetSource(str(tmp_path))

    assert times_of(source) == [1]
    assert pa.Table.from_batches(source.users()).to_pydict() == {
        "user_id": ["1", "2", "x"],
        "age": [30, 40, 50],
    }


def test_hidden_files_are_no_part_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "part-0.parquet", log([1, 2]))
    write(tmp_path / "_temporary" / "0" / "part-0.parquet", log([1, 2]))
    write(tmp_path / "._part-0.parquet", log([1, 2]))

    assert times_of(ParquetSource(str(tmp_path))) == [1, 2]
    assert "_temporary" in caplog.text
    assert "._part-0.parquet" in caplog.text


@pytest.mark.parametrize("table", ["users.parquet", "videos.parquet"])
def test_a_table_that_is_cut_off_is_named(tmp_path: Path, table: str) -> None:
    write(tmp_path / "log.parquet", log([1]))
    write(tmp_path / table, pa.table({"user_id": [1], "video_id": [1]}))
    (tmp_path / table).write_bytes((tmp_path / table).read_bytes()[:-20])
    source = ParquetSource(str(tmp_path))

    with pytest.raises(SourceError, match=rf"{table}: expected Parquet, found: "):
        list(source.users() if table == "users.parquet" else source.videos())


def test_a_damaged_row_group_of_a_table_is_named(tmp_path: Path) -> None:
    write(tmp_path / "log.parquet", log([1]))
    path = tmp_path / "videos.parquet"
    write(path, pa.table({"video_id": list(range(1000))}), group_rows=1000)
    damaged = bytearray(path.read_bytes())
    damaged[4:1000] = b"\xff" * 996
    path.write_bytes(damaged)

    with pytest.raises(SourceError, match=r"videos\.parquet, row group 0: expected readable Parquet, found"):
        list(ParquetSource(str(tmp_path)).videos())


def test_a_table_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "log.parquet", log([1]))
    twice = pa.Table.from_arrays([pa.array([1])] * 3, names=["user_id", "age", "age"])
    write(tmp_path / "users.parquet", twice)

    with pytest.raises(SourceError, match=r"users\.parquet: expected each column once, found 2 .* 'age'"):
        list(ParquetSource(str(tmp_path)).users())


def test_a_table_without_its_id_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "log.parquet", log([1]))
    write(tmp_path / "videos.parquet", pa.table({"id": [1]}))

    with pytest.raises(SourceError, match=r"videos\.parquet: expected a column 'video_id', found id"):
        list(ParquetSource(str(tmp_path)).videos())
