"""Resuming over a log whose files have changed: what may change, and what is refused with file and reason."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranker.errors import SourceError
from training.sources.base import Offset
from training.sources.parquet import ParquetSource

DAYS, ROWS = 4, 30
BATCH = 25


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


def left(log: Path, offset: Offset) -> list[int]:
    batches = ParquetSource(str(log)).batches(BATCH, resume_from=offset)
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
        (lose, r"day2\.parquet: expected this file, of which the rows up to time_ms .* found none"),
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
