"""Resuming over a log whose files have changed: what may change, and what is refused with file and reason."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranker.errors import SourceError, UserError
from training.sources.base import Offset, SourceBatch
from training.sources.lateness import Lateness, TooLate, parse_wait
from training.sources.parquet import ParquetSource
from training.sources.simulated.source import SimulatedSource

DAYS, ROWS = 4, 30
BATCH = 25
REFUSING, SKIPPING = Lateness(), Lateness(late=TooLate.SKIP)


def write_day(folder: Path, day: int, *, first_ms: int | None = None, rows: int = ROWS) -> None:
    """A file of rows a millisecond apart; `n` numbers all rows of the log."""
    start_ms = day * 1000 if first_ms is None else first_ms
    table = pa.table(
        {
            "time_ms": range(start_ms, start_ms + rows),
            "user_id": [1] * rows,
            "video_id": [2] * rows,
            "n": range(day * ROWS, day * ROWS + rows),
        }
    )
    pq.write_table(table, folder / f"day{day}.parquet")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    folder.mkdir()
    for day in range(DAYS):
        write_day(folder, day)
    return folder


def offset_after(log: Path, batches: int) -> Offset:
    """The offset after so many batches, by way of JSON; the rows before it are those that were learned."""
    source = ParquetSource(str(log)).batches(BATCH)
    *_, last = (next(source) for _ in range(batches))
    offset: Offset = json.loads(json.dumps(last.offset))
    return offset


def left(log: Path, offset: Offset, lateness: Lateness = REFUSING) -> list[int]:
    batches = ParquetSource(str(log)).with_lateness(lateness).batches(BATCH, resume_from=offset)
    return [n for batch in batches for n in batch.records.column("n").to_pylist()]


@pytest.mark.parametrize("batches", [1, 2, 3, 4])
def test_an_unchanged_log_goes_on_after_what_was_taken(log: Path, batches: int) -> None:
    assert left(log, offset_after(log, batches)) == list(range(batches * BATCH, DAYS * ROWS))


def test_a_taken_file_may_be_pruned_and_a_later_one_come(log: Path) -> None:
    offset = offset_after(log, 3)  # 75 rows: days 0 and 1, and half of day 2
    (log / "day0.parquet").unlink()
    write_day(log, DAYS)

    assert left(log, offset) == list(range(75, (DAYS + 1) * ROWS))


def test_ten_days_of_a_rolling_window_are_learned_once_each(tmp_path: Path) -> None:
    folder, learned = tmp_path / "log", list[int]()
    folder.mkdir()
    offset: Offset | None = None
    for day in range(10):
        write_day(folder, day)
        (folder / f"day{day - 3}.parquet").unlink(missing_ok=True)
        for batch in ParquetSource(str(folder)).batches(BATCH, resume_from=offset):
            learned += batch.records.column("n").to_pylist()
            offset = json.loads(json.dumps(batch.offset))

    assert learned == list(range(10 * ROWS))


def rewrite(log: Path) -> None:
    write_day(log, 1, rows=ROWS - 5)


def grow(log: Path) -> None:
    write_day(log, 2, rows=ROWS + 5)


def lose(log: Path) -> None:
    (log / "day2.parquet").unlink()


def come_late(log: Path) -> None:
    write_day(log, 9, first_ms=1500)


def copy(log: Path) -> None:
    shutil.copy(log / "day0.parquet", log / "day0-again.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rewrite, r"day1\.parquet: expected what was learned from at the start of the log, found: .*became"),
        (grow, r"day2\.parquet: expected what was learned from at the start of the log, found: .*became"),
        (lose, r"day2\.parquet: expected this file, of which the rows before time_ms 2015 .* found none"),
        (come_late, r"day9\.parquet: expected new rows to be later than .*, found time_ms 1500"),
        (copy, r"day0-again\.parquet: expected new rows to be later than .*, found time_ms 0"),
    ],
)
def test_a_change_of_what_was_learned_is_refused(log: Path, change: object, message: str) -> None:
    offset = offset_after(log, 3)
    assert callable(change)
    change(log)

    with pytest.raises(SourceError, match=message):
        left(log, offset)


def test_a_refusal_says_what_can_be_done(log: Path) -> None:
    offset = offset_after(log, 3)
    come_late(log)

    with pytest.raises(SourceError, match=r"before time_ms 2015, .*--late skip .*--late-by .*--resume"):
        left(log, offset)


def test_rows_that_come_too_late_are_skipped_named_and_counted(
    log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    offset = offset_after(log, 3)  # up to time_ms 2014
    write_day(log, 9, first_ms=1500)
    write_day(log, 8, first_ms=2010)  # 5 rows too late, 25 in time
    source = ParquetSource(str(log)).with_lateness(SKIPPING)

    batches = list(source.batches(BATCH, resume_from=offset))

    found = [n for batch in batches for n in batch.records.column("n").to_pylist()]
    in_time = range(8 * ROWS + 5, 9 * ROWS)
    assert sorted(found) == sorted([*range(75, DAYS * ROWS), *in_time])
    times = [time for batch in batches for time in batch.records.column("time_ms").to_pylist()]
    assert times == sorted(times)
    assert source.late_rows == ROWS + 5
    for file, rows in (("day9", 30), ("day8", 5)):
        assert f"{file}.parquet: left out {rows} rows that came late" in caplog.text

    assert left(log, json.loads(json.dumps(batches[-1].offset))) == []  # known from now on


def test_rows_that_were_skipped_at_the_time_of_the_last_one_stay_out(tmp_path: Path) -> None:
    """Three rows of one time: one was learned, then a late file has another, then the rest is read in two."""
    folder = tmp_path / "log"
    folder.mkdir()

    def write(name: str, times: list[int], numbers: list[int]) -> None:
        ids = [1] * len(times)
        table = pa.table({"time_ms": times, "user_id": ids, "video_id": ids, "n": numbers})
        pq.write_table(table, folder / f"{name}.parquet")

    def read(offset: Offset | None, batches: int) -> tuple[list[int], Offset]:
        source = ParquetSource(str(folder)).with_lateness(SKIPPING).batches(1, resume_from=offset)
        taken = [next(source) for _ in range(batches)]
        numbers = [n for batch in taken for n in batch.records.column("n").to_pylist()]
        return numbers, json.loads(json.dumps(taken[-1].offset))

    write("b", [5, 5, 5, 9], [0, 1, 2, 3])
    first, offset = read(None, 1)
    write("a", [4, 5, 5, 7], [10, 11, 12, 13])
    second, offset = read(offset, 1)
    third, _ = read(offset, 3)

    assert (first, second, third) == ([0], [1], [2, 13, 3])


@pytest.mark.parametrize("wait_ms", [1, 500, 1_000, 1_010])
def test_rows_that_are_late_by_what_is_waited_for_find_their_place(log: Path, wait_ms: int) -> None:
    waiting = Lateness(wait_ms)
    newest_ms = (DAYS - 1) * 1000 + ROWS - 1
    source = ParquetSource(str(log)).with_lateness(waiting)
    *_, last = source.batches(BATCH)
    first = [n for batch in source.batches(BATCH) for n in batch.records.column("n").to_pylist()]
    write_day(log, 9, first_ms=newest_ms - wait_ms, rows=1)
    offset = json.loads(json.dumps(last.offset))

    rest = left(log, offset)

    assert len(first) < DAYS * ROWS
    assert sorted(first + rest) == [*range(DAYS * ROWS), 9 * ROWS]
    assert 9 * ROWS in rest
    write_day(log, 8, first_ms=newest_ms - wait_ms - 1_000, rows=1)
    with pytest.raises(SourceError, match="day8"):
        left(log, offset)


def test_what_is_waited_for_bounds_a_range_that_ends_later_only(log: Path) -> None:
    def rows(until_ms: int | None, wait_ms: int) -> int:
        source = ParquetSource(str(log)).with_lateness(Lateness(wait_ms))
        return sum(batch.records.num_rows for batch in source.batches(BATCH, until_ms=until_ms))

    assert rows(1_000, 10) == ROWS
    assert rows(None, 10) == rows(1_000_000, 10) == DAYS * ROWS - 11


def test_files_before_the_first_time_are_of_no_concern(log: Path) -> None:
    def rows(offset: Offset | None) -> list[SourceBatch]:
        return list(ParquetSource(str(log)).batches(BATCH, since_ms=1_000, resume_from=offset))

    offset = json.loads(json.dumps(rows(None)[1].offset))
    write_day(log, 0, rows=ROWS - 1)
    write_day(log, 7, first_ms=500)

    assert sum(batch.records.num_rows for batch in rows(offset)) == (DAYS - 1) * ROWS - 2 * BATCH


def test_a_log_that_does_not_grow_waits_for_nothing() -> None:
    source = SimulatedSource(days=1, seed=0)
    assert source.with_lateness(Lateness()) is source
    for lateness in (SKIPPING, Lateness(1)):
        with pytest.raises(SourceError, match=r"simulated.*: expected a log of Parquet files for --late"):
            source.with_lateness(lateness)


@pytest.mark.parametrize(("text", "ms"), [(None, 0), ("90s", 90_000), ("6h", 21_600_000), ("1d", 86_400_000)])
def test_a_wait_is_a_duration(text: str | None, ms: int) -> None:
    assert parse_wait(text, "--late-by") == ms


@pytest.mark.parametrize("text", ["soon", "-1h", "6 hours", ""])
def test_anything_else_is_no_wait(text: str) -> None:
    with pytest.raises(UserError, match=r"--late-by: expected a duration such as .*, found"):
        parse_wait(text, "--late-by")


def test_a_file_that_is_still_untouched_may_change(log: Path) -> None:
    offset = offset_after(log, 3)
    write_day(log, 3, rows=ROWS - 10)

    assert left(log, offset) == list(range(75, DAYS * ROWS - 10))


def test_where_the_buffer_overflowed_it_goes_on_with_the_very_same_rows(tmp_path: Path) -> None:
    """Files that overlap in time by more rows than may wait: what comes when depends on all of them."""
    folder = tmp_path / "log"
    folder.mkdir()
    for day in range(4):
        write_day(folder, day, first_ms=day * 7, rows=ROWS)

    def rows(resume_from: Offset | None) -> list[tuple[int, Offset]]:
        source = ParquetSource(str(folder), reorder_rows=10)
        return [
            (n, batch.offset)
            for batch in source.batches(8, resume_from=resume_from)
            for n in batch.records.column("n").to_pylist()
        ]

    whole = rows(None)
    assert len(whole) < 4 * ROWS  # some came too late
    for taken in range(8, len(whole), 8):
        offset = json.loads(json.dumps(whole[taken - 1][1]))
        assert [n for n, _ in rows(offset)] == [n for n, _ in whole[taken:]]
