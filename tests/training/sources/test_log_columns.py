"""Files that others wrote: what is read as one log, and what is refused with file and column."""

import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranker.errors import SourceError
from ranker.event_times import TimeRange
from training.sources.parquet import ParquetSource

NOW_MS = 1_750_000_000_000
TIMES = TimeRange.plausible(NOW_MS)


def columns(**changes: Any) -> dict[str, Any]:
    """Two rows."""
    return {"time_ms": [NOW_MS, NOW_MS + 1], "user_id": ["a", "b"], "video_id": ["v", "w"]} | changes


def source(folder: Path, *files: dict[str, Any] | pa.Table, **options: Any) -> ParquetSource:
    for number, file in enumerate(files, start=1):
        table = file if isinstance(file, pa.Table) else pa.table(file)
        pq.write_table(table, folder / f"{number}.parquet", **options)
    return ParquetSource(str(folder), times=TIMES)


def values(log: ParquetSource, name: str) -> list[Any]:
    return [value for batch in log.records(100) for value in batch.column(name).to_pylist()]


def decimals(digits: int, scale: int, *given: str) -> pa.Array:
    return pa.array([Decimal(value) for value in given], pa.decimal128(digits, scale))


ALIKE = {
    "widths of integers": (pa.array([1, 2], pa.int32()), pa.array([3, None]), pa.int64()),
    "small unsigned": (pa.array([1, 2], pa.uint32()), pa.array([-3, 4], pa.int8()), pa.int64()),
    "large unsigned": (pa.array([1, 2**64 - 1], pa.uint64()), pa.array([3, 4], pa.uint8()), pa.uint64()),
    "floats": (pa.array([1.5, 2], pa.float32()), pa.array([3.5, 4]), pa.float64()),
    "integers with gaps": (pa.array([1, 2]), pa.array([3.0, None]), pa.float64()),
    "text": (pa.array(["x", "y"], pa.large_string()), pa.array(["z", None]), pa.large_string()),
    "views of text": (pa.array(["x", "y"], pa.string_view()), pa.array(["z", None]), pa.string()),
    "dictionaries": (pa.array(["x", "y"]).dictionary_encode(), pa.array(["z", None]), pa.string()),
    "no values": (pa.nulls(2), pa.array([3.5, 4]), pa.float64()),
    "no values anywhere": (pa.nulls(2), pa.nulls(2), pa.null()),
    "lists of no values": (pa.array([[], []]), pa.array([["x"], None]), pa.list_(pa.string())),
    "lists of a size": (
        pa.array([[1, 2], [3, 4]], pa.list_(pa.int32(), 2)),
        pa.array([[5], None]),
        pa.list_(pa.int64()),
    ),
    "large lists": (
        pa.array([["x"], None], pa.large_list(pa.string())),
        pa.array([["y"], ["z"]]),
        pa.large_list(pa.string()),
    ),
    "decimals": (decimals(9, 2, "1.50", "2.25"), decimals(9, 4, "3.1250", "4"), pa.decimal128(11, 4)),
    "decimals and integers": (decimals(5, 0, "1", "2"), pa.array([3, 4]), pa.decimal128(20, 0)),
    "decimals and floats": (decimals(9, 2, "1.50", "2.25"), pa.array([3.5, 4]), pa.float64()),
}


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("name", ALIKE)
def test_what_means_the_same_is_one_column(tmp_path: Path, name: str, swapped: bool) -> None:
    first, second, kind = ALIKE[name]
    files = [columns(f=first), columns(f=second, time_ms=[NOW_MS + 2, NOW_MS + 3])]
    log = source(tmp_path, *files[:: -1 if swapped else 1])

    assert log.schema.field("f").type == kind
    assert values(log, "f") == [*first.to_pylist(), *second.to_pylist()]


UNLIKE = {
    "text and numbers": (["x", "y"], [1, 2], "string", "int64"),
    "true and numbers": ([True, False], [1, 2], "bool", "int64"),
    "lists and text": ([["x"], []], ["x", "y"], r"list<.*>", "string"),
    "structures": ([{"a": 1}, None], [1, 2], r"struct<.*>", "int64"),
    "decimals beyond Arrow's": (
        decimals(38, 0, "1", "2"),
        decimals(9, 2, "1.5", "2"),
        "decimal.*",
        "decimal.*",
    ),
}


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("name", UNLIKE)
def test_what_may_mean_something_else_is_refused(tmp_path: Path, name: str, swapped: bool) -> None:
    first, second, expected, found = UNLIKE[name]
    if swapped:
        first, second, expected, found = second, first, found, expected

    message = rf"2\.parquet: expected column 'f' to be {expected} as in .*1\.parquet, found {found}"
    with pytest.raises(SourceError, match=message):
        source(tmp_path, columns(f=first), columns(f=second))


def test_whole_numbers_that_floats_cannot_hold_are_refused(tmp_path: Path) -> None:
    log = source(tmp_path, columns(f=[1.5, None]), columns(f=[1, 2**53 + 1]))

    with pytest.raises(SourceError, match=r"2\.parquet: column 'f': expected values that double can hold"):
        values(log, "f")


@pytest.mark.parametrize("name", ["f", "time_ms", "user_id"])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, name: str) -> None:
    table = pa.table(columns(f=[1, 2]))

    with pytest.raises(SourceError, match=rf"1\.parquet: expected each column once, found 2 .* '{name}'"):
        source(tmp_path, table.append_column(name, table[name]))


def test_a_column_that_some_files_lack_is_missing_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        log = source(tmp_path, columns(), columns(f=[1, 2], time_ms=[NOW_MS + 2, NOW_MS + 3]))

    assert values(log, "f") == [None, None, 1, 2]
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith("column 'f' is missing in 1 of 2 files, such as ")
    assert "1.parquet" in said


@pytest.mark.parametrize("name", ["time_ms", "user_id", "video_id"])
def test_every_file_has_times_and_ids(tmp_path: Path, name: str) -> None:
    lacking = columns()
    del lacking[name]

    with pytest.raises(SourceError, match=rf"2\.parquet: expected a column '{name}', found "):
        source(tmp_path, columns(), lacking)


IDS = {
    "numbers beside text": ([712, 8], ["712", "z"], ["712", "8", "712", "z"]),
    "floats beside numbers": ([712.0, None], [712, 8], [712, None, 712, 8]),
    "floats alone": ([712.0, float("nan")], [1.0, 2.0], [712, None, 1, 2]),
    "large unsigned": (
        pa.array([2**64 - 1, 2], pa.uint64()),
        pa.array([-3, 2]),
        ["18446744073709551615", "2", "-3", "2"],
    ),
    "decimals": (decimals(20, 2, "712.00", "8.00"), [712, 8], ["712", "8", "712", "8"]),
    "no ids in a file": (pa.nulls(2), [712, 8], [None, None, 712, 8]),
    "no ids at all": (pa.nulls(2), pa.nulls(2), [None] * 4),
    "empty text": (["", "a"], ["a", None], [None, "a", "a", None]),
}


@pytest.mark.parametrize("name", IDS)
def test_ids_are_the_same_however_they_are_stored(tmp_path: Path, name: str) -> None:
    first, second, ids = IDS[name]
    log = source(tmp_path, columns(user_id=first), columns(user_id=second, time_ms=[NOW_MS + 2, NOW_MS + 3]))

    assert values(log, "user_id") == ids


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[1], [2]], r"2\.parquet: expected column 'user_id' to be text or whole numbers, found list<"),
        ([True, False], r"2\.parquet: expected column 'user_id' to be text or whole numbers, found bool"),
        ([1.0, 1.5], r"2\.parquet, row 1: user_id: expected an id .*, found the float 1\.5"),
        (["a", "x" * 1025], r"2\.parquet, row 1: user_id: expected an id .*, found 1025 bytes"),
        (decimals(9, 1, "1", "1.5"), r"2\.parquet, row 1: user_id: expected an id .*, found 1\.5"),
    ],
)
def test_what_is_no_id_is_refused(tmp_path: Path, ids: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        values(source(tmp_path, columns(), columns(user_id=ids), row_group_size=1), "user_id")


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("missing", [None, ""])
def test_a_row_without_a_video_is_refused(tmp_path: Path, missing: str | None, statistics: bool) -> None:
    with pytest.raises(SourceError, match=r"1\.parquet, row 1: expected a 'video_id' in every row, found"):
        values(
            source(tmp_path, columns(video_id=["v", missing]), row_group_size=1, write_statistics=statistics),
            "video_id",
        )


@pytest.mark.parametrize("statistics", [True, False])
def test_a_row_without_a_time_is_refused(tmp_path: Path, statistics: bool) -> None:
    with pytest.raises(SourceError, match=r"1\.parquet, row 1: expected a 'time_ms' in every row"):
        values(source(tmp_path, columns(time_ms=[NOW_MS, None]), write_statistics=statistics), "time_ms")


def test_a_null_video_is_refused_before_the_first_row_is_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"2\.parquet, row 0: expected a 'video_id'"):
        source(tmp_path, columns(), columns(video_id=[None, "v"]))


def test_rows_without_a_viewer_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = source(tmp_path, columns(user_id=["a", ""]), columns(user_id=[None, "b"]))

    with caplog.at_level(logging.WARNING):
        assert values(log, "user_id") == ["a", None, None, "b"]
    [said] = [record.getMessage() for record in caplog.records]
    assert said.endswith("2 of 4 rows have no user_id: their viewer counts as unknown")


ZONES = (None, "UTC", "+08:00", "Europe/Berlin")


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_every_unit_and_zone_are_times(tmp_path: Path, unit: str, zone: str | None) -> None:
    """A timestamp without a zone is in UTC, as pandas and Spark write those that they keep in UTC."""
    seconds = pa.array([NOW_MS // 1000, NOW_MS // 1000 + 5], pa.timestamp("s"))
    log = source(tmp_path, columns(time_ms=seconds.cast(pa.timestamp(unit)).cast(pa.timestamp(unit, zone))))

    assert log.schema.field("time_ms").type == pa.int64()
    assert values(log, "time_ms") == [NOW_MS, NOW_MS + 5000]


def test_parts_of_a_millisecond_are_cut(tmp_path: Path) -> None:
    exact = pa.array([NOW_MS * 1000 + 1, NOW_MS * 1000 + 999], pa.timestamp("us"))

    assert values(source(tmp_path, columns(time_ms=exact)), "time_ms") == [NOW_MS, NOW_MS]


def test_sparks_old_timestamps_are_times(tmp_path: Path) -> None:
    """INT96 has no statistics, and reaches beyond what nanoseconds can hold."""
    seconds = pa.array([NOW_MS // 1000, NOW_MS // 1000], pa.timestamp("s"))
    log = source(tmp_path, columns(time_ms=seconds), use_deprecated_int96_timestamps=True)

    assert values(log, "time_ms") == [NOW_MS, NOW_MS]


def test_timestamps_and_milliseconds_are_one_log(tmp_path: Path) -> None:
    stamps = pa.array([NOW_MS - 1, NOW_MS + 2], pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC"))
    log = source(tmp_path, columns(), columns(time_ms=stamps))

    assert values(log, "time_ms") == [NOW_MS - 1, NOW_MS, NOW_MS + 1, NOW_MS + 2]


IMPLAUSIBLE = {
    "seconds": ([NOW_MS // 1000] * 2, 0, "as seconds it would be 2025-06-15T15:06:40Z"),
    "microseconds in a row": ([NOW_MS, NOW_MS * 1000], 1, "as microseconds it would be 2025-06-15T15:06:40Z"),
    "nanoseconds": ([NOW_MS, NOW_MS * 10**6], 1, "as nanoseconds it would be 2025-06-15T15:06:40Z"),
    "a fast clock": ([NOW_MS, NOW_MS + 365 * 86_400_000], 1, r"found 1781536000000 \(2026-06-15T15:06:40Z\)"),
    "no time as 0": ([0, NOW_MS], 0, r"found 0 \(1970-01-01T00:00:00Z\)"),
    "a timestamp": (pa.array([NOW_MS // 1000, 0], pa.timestamp("s")), 1, r"found 0 \(1970-01-01T00:00:00Z\)"),
}


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("name", IMPLAUSIBLE)
def test_an_implausible_time_is_refused_where_the_log_opens(
    tmp_path: Path, name: str, statistics: bool
) -> None:
    times, row, found = IMPLAUSIBLE[name]
    with pytest.raises(
        SourceError, match=rf"2\.parquet, row {row}: expected 'time_ms' in milliseconds since 1970, .*{found}"
    ):
        source(tmp_path, columns(), columns(time_ms=times), row_group_size=1, write_statistics=statistics)


@pytest.mark.parametrize("wrong", [0, NOW_MS * 1000])
def test_one_implausible_row_among_others_is_found(tmp_path: Path, wrong: int) -> None:
    times = [*range(NOW_MS, NOW_MS + 4), wrong, NOW_MS]

    with pytest.raises(SourceError, match=r"1\.parquet, row 4: expected 'time_ms' in milliseconds"):
        source(tmp_path, columns(time_ms=times, user_id=["u"] * 6, video_id=["v"] * 6), row_group_size=3)


def test_a_row_far_after_all_others_is_refused_unless_times_are_said_to_be_right(tmp_path: Path) -> None:
    """A year ahead of a log of a year ago is no future; it would make the days that follow look learned."""
    times = [NOW_MS - 400 * 86_400_000 + row for row in range(300)]
    times[7] += 365 * 86_400_000
    ids = {"user_id": ["u"] * 300, "video_id": ["v"] * 300}
    pq.write_table(pa.table({"time_ms": times, **ids}), tmp_path / "1.parquet", row_group_size=5)

    with pytest.raises(
        SourceError,
        match=r"1\.parquet, row 7: expected 'time_ms' within 30 days of all others, of which the latest is "
        r"2024-05-11T15:06:40Z, found 1746976000007 \(2025-05-11T15:06:40Z\) in the first of 1 such rows",
    ):
        ParquetSource(str(tmp_path), times=TIMES)
    said = TimeRange.plausible(NOW_MS, until_ms=NOW_MS)
    assert values(ParquetSource(str(tmp_path), times=said), "time_ms") == sorted(times)


def test_who_opens_a_log_says_which_times_are_plausible(tmp_path: Path) -> None:
    source(tmp_path, columns())
    times = [0, 86_400_000 * 10**6]
    pq.write_table(pa.table(columns(time_ms=times)), tmp_path / "1.parquet")

    assert values(ParquetSource(str(tmp_path), times=TimeRange(0, times[1] + 1)), "time_ms") == times
    assert values(ParquetSource(str(tmp_path)), "time_ms") == times


@pytest.mark.parametrize("kind", [pa.float64(), pa.string(), pa.date32(), pa.decimal128(20, 3)])
def test_times_of_another_type_are_refused(tmp_path: Path, kind: pa.DataType) -> None:
    with pytest.raises(SourceError, match=r"1\.parquet: expected 'time_ms' in whole milliseconds since"):
        source(tmp_path, columns(time_ms=pa.nulls(2, kind)))


@pytest.mark.parametrize("kind", [pa.int32(), pa.uint64(), pa.decimal128(20, 0)])
def test_times_are_whole_numbers_of_any_width(tmp_path: Path, kind: pa.DataType) -> None:
    small = TimeRange(0, 10)
    pq.write_table(pa.table(columns(time_ms=pa.array([3, 4]).cast(kind))), tmp_path / "1.parquet")

    assert values(ParquetSource(str(tmp_path), times=small), "time_ms") == [3, 4]
