"""KuaiRand's logs in event-time order: an external merge sort that drops repeated rows."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranker.errors import SourceError
from ranker.event_times import TimeRange
from ranker.events import TIME_MS, USER_ID, VIDEO_ID
from ranker.files.whole import naming
from training.sources.kuairand.csv_blocks import csv_blocks
from training.sources.merge import Chunk, TimeMerge

RUN_ROWS = 1_000_000
GROUP_ROWS = 16_384
SKIPPED_MS = 3000
"""The label `skip` is 1 if a video was played for less."""
MAX_SHARE = 2.0
"""Limit of `watched_share`, because videos are repeated until the viewer swipes."""

_LABELS = {
    "click": "is_click",
    "long_view": "long_view",
    "like": "is_like",
    "follow": "is_follow",
    "comment": "is_comment",
    "forward": "is_forward",
    "profile_enter": "is_profile_enter",
    "dismiss": "is_hate",
}
_KEYS = (TIME_MS, USER_ID, VIDEO_ID)
_TIMES = ("play_time_ms", "duration_ms", "comment_stay_time")
_COLUMNS = dict.fromkeys((*_KEYS, "tab", *_TIMES), pa.int64()) | dict.fromkeys(_LABELS.values(), pa.int8())


def read_log(
    paths: list[Path],
    *,
    until_ms: int | None = None,
    times: TimeRange | None = None,
    run_rows: int = RUN_ROWS,
    group_rows: int = GROUP_ROWS,
    note_range: Callable[[int, int], None] | None = None,
) -> Iterator[pa.Table]:
    """Read several logs as one in event-time order; ties keep the order of files and rows.

    Runs of `run_rows` rows are sorted in memory and written to a temporary folder, then merged. Of
    rows with the same viewer, video and time only the first is kept, also across files.

    Args:
        paths: CSV files in the official layout, plain or gzipped.
        until_ms: First time that is excluded.
        times: The plausible times; None if all are.
        run_rows: Rows that are sorted in memory at once.
        group_rows: Rows of a run that are read back at once.
        note_range: Called with the first and the last time, in milliseconds, before the first table.

    Yields:
        Tables of `LOG_SCHEMA`; rows of the same time are in the same table.

    Raises:
        SourceError: A file is unreadable, or a time is not plausible; the message names the file and, if one
            row is wrong, its line.
    """
    with TemporaryDirectory(prefix="watchnext-kuairand-") as folder:
        runs = [
            _write_run(run, Path(folder) / f"{number:06d}.parquet", group_rows)
            for number, run in enumerate(_runs(paths, run_rows, times))
        ]
        chunks = [chunk for run in runs for chunk in _chunks(run)]
        if note_range is not None and chunks:
            note_range(min(chunk.first_ms for chunk in chunks), max(chunk.last_ms for chunk in chunks))
        for table in TimeMerge(chunks, reorder_rows=None, until_ms=until_ms):
            yield _drop_repeats(table)


def _runs(paths: list[Path], run_rows: int, times: TimeRange | None) -> Iterator[pa.Table]:
    for path in paths:
        file_rows = 0
        blocks: list[pa.RecordBatch] = []
        for block in csv_blocks(path, _COLUMNS):
            _check_keys(block, path, first_line=file_rows + 2)
            if times is not None:
                _check_times(block[TIME_MS], times, path, first_line=file_rows + 2)
            file_rows += block.num_rows
            blocks.append(block)
            if sum(block.num_rows for block in blocks) >= run_rows:
                yield _convert(pa.Table.from_batches(blocks))
                blocks = []
        if blocks:
            yield _convert(pa.Table.from_batches(blocks))


def _check_keys(block: pa.RecordBatch, path: Path, first_line: int) -> None:
    for name in _KEYS:
        if block[name].null_count:
            line = first_line + pc.index(block[name].is_null(), True).as_py()
            raise SourceError(f"{path}, line {line}: expected a whole number as {name}, found none")


def _check_times(time_ms: pa.Array, times: TimeRange, path: Path, first_line: int) -> None:
    numbers = time_ms.to_numpy()
    outside = (numbers < times.since_ms) | (numbers >= times.until_ms)
    if outside.any():
        row = int(outside.argmax())
        raise SourceError(f"{path}, line {first_line + row}: {times.mistake(int(numbers[row]))}")


def _convert(raw: pa.Table) -> pa.Table:
    columns = {name: raw[name] for name in (*_KEYS, "tab")}
    columns |= {label: raw[name] for label, name in _LABELS.items()}
    played_ms = raw["play_time_ms"].cast(pa.float64())
    columns["watch_time"] = pc.divide(played_ms, 1000.0)
    length_ms = pc.if_else(pc.greater(raw["duration_ms"], 0), raw["duration_ms"], None).cast(pa.float64())
    columns["watched_share"] = pc.min_element_wise(
        pc.divide(played_ms, length_ms), MAX_SHARE, skip_nulls=False
    )
    columns["finish"] = pc.greater_equal(played_ms, length_ms).cast(pa.int8())
    columns["skip"] = pc.less(played_ms, SKIPPED_MS).cast(pa.int8())
    columns["comments_open"] = pc.greater(raw["comment_stay_time"], 0).cast(pa.int8())
    return pa.table(columns)


LOG_SCHEMA = _convert(pa.schema(list(_COLUMNS.items())).empty_table()).schema
"""Schema of the tables that `read_log` yields."""


def _write_run(run: pa.Table, path: Path, group_rows: int) -> Path:
    by_time = run.sort_by(TIME_MS)  # stable, so ties keep the file's order
    with naming(path):
        pq.write_table(by_time, path, row_group_size=group_rows, compression="lz4")
    return path


def _chunks(run: Path) -> Iterator[Chunk]:
    metadata = pq.read_metadata(run)
    time_column = metadata.schema.names.index(TIME_MS)
    for group in range(metadata.num_row_groups):
        times = metadata.row_group(group).column(time_column).statistics
        yield Chunk(
            f"{run}, row group {group}", times.min, times.max, partial(_read_group, run, group, metadata)
        )


def _read_group(run: Path, group: int, metadata: pq.FileMetaData) -> pa.Table:
    with pq.ParquetFile(run, metadata=metadata) as file:
        return file.read_row_group(group)


def _drop_repeats(table: pa.Table) -> pa.Table:
    keys = [table[name].to_numpy() for name in _KEYS]
    order = np.lexsort(keys)
    fresh = np.zeros(len(order), np.bool_)
    for key in keys:
        fresh[1:] |= key[order][1:] != key[order][:-1]
    fresh[:1] = True
    return table.take(np.sort(order[fresh]))
