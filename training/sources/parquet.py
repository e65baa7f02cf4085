"""Parquet: a file, a folder, a glob or any fsspec URL, read as one log in event-time order."""

import hashlib
import logging
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.core import has_magic
from numpy.typing import NDArray

from ranker.errors import SourceError
from ranker.event_times import TimeRange
from ranker.events import QUERY_PREFIX, REQUIRED, TIME_MS, USER_ID, VIDEO_ID
from training.sources.base import Offset, SourceBatch, SourceKind
from training.sources.discovery import find_files, has_files
from training.sources.last_known import last_known
from training.sources.log_columns import common_schema, conform, event_ms, file_schema
from training.sources.lone_times import Part, lone_rows
from training.sources.merge import DEFAULT_REORDER_ROWS, Chunk, Late, TimeMerge, rebatch
from training.sources.parquet_offset import Cursor, FileMark, with_cursors

USER_TABLE = "users.parquet"
VIDEO_TABLE = "videos.parquet"
_IN_EVERY_ROW = (TIME_MS, VIDEO_ID)
_SCAN_ROWS = 65_536

logger = logging.getLogger(__name__)


class ParquetSource(SourceKind):
    """Examples in Parquet files, merged by time across files and row groups.

    Row groups that do not overlap in time are read one at a time. Rows of overlapping ones wait in a buffer
    of `reorder_rows` rows; rows that are late by more than that are dropped and counted, or refused.

    Files named `users.parquet` and `videos.parquet` are the tables of users and videos and not part of the
    log; a folder of that name is such a table in parts. Without them, a user's or video's row has the latest
    value of every column in the log.

    Every row has a video. A row without a viewer's id is of an unknown viewer; such rows are counted.

    An offset has the time up to which all rows were read, and a mark of every file. Resuming reads the rows
    from that time on; older files may have been deleted, and newer ones may have been added. If the buffer
    overflowed before, the rows depend on all files, and resuming reads all of them again.
    """

    kind: ClassVar[str] = "parquet"
    layout: ClassVar[str | None] = "*.parquet files, a glob or a URL"

    def __init__(
        self,
        url: str,
        *,
        late: Late = "drop",
        reorder_rows: int = DEFAULT_REORDER_ROWS,
        times: TimeRange | None = None,
    ) -> None:
        """Find the files, compare their schemas, and check their times.

        Args:
            url: A file, a folder (searched through all its folders for *.parquet), a glob or an fsspec URL.
            late: Whether rows that are late by more than the buffer are dropped or refused.
            reorder_rows: Capacity of the reorder buffer.
            times: The plausible times; a row outside is refused, and so are a few rows that are far after
                all others if nobody has said up to when times are plausible. None if all times are.

        Raises:
            SourceError: No file matches, one is not Parquet, two differ in a column, or a time is not
                plausible.
        """
        self.name = f"parquet {url}"
        self._late: Late = late
        self._reorder_rows = reorder_rows
        self._times = times
        self._merge: TimeMerge | None = None
        found = find_files(url)
        self._files = found.filesystem
        self._tables: dict[str, list[str]] = {USER_TABLE: [], VIDEO_TABLE: []}
        log = list[str]()
        for path in found.paths:
            table = next((name for name in found.names_below_root(path) if name in self._tables), None)
            (log if table is None else self._tables[table]).append(path)
        if not log:
            matched = ", ".join(found.paths) or found.left_out or "no such file"
            raise SourceError(f"{url}: expected a log in *.parquet, found {matched}")
        if found.left_out:
            logger.warning("%s: %s", self.name, found.left_out)
        self._footers = {path: self._footer(path) for path in log}
        schemas = {
            path: file_schema(footer.schema.to_arrow_schema(), required=REQUIRED, where=path)
            for path, footer in self._footers.items()
        }
        self._time_types = {path: schema.field(TIME_MS).type for path, schema in schemas.items()}
        self._schema = common_schema(schemas)
        self._chunks = {path: list(self._chunks_of(path, footer)) for path, footer in self._footers.items()}
        if times is not None and times.until_now:
            self._refuse_lone_rows()

    @classmethod
    def recognises(cls, data: str | None) -> bool:
        """Whether the data is a URL, a glob, a .parquet file or a folder that contains one."""
        if data is None:
            return False
        path = Path(data)
        return "://" in data or has_magic(data) or path.suffix == ".parquet" or has_files(data)

    @classmethod
    def open(cls, data: str | None, times: TimeRange) -> Self:
        """Open files; see `SourceKind.open`."""
        assert data is not None
        return cls(data, times=times)

    @property
    def schema(self) -> pa.Schema:
        """Schema of the batches: the files' columns in types that hold the values of all of them."""
        return self._schema

    @property
    def late_rows(self) -> int:
        """Rows that the last pass dropped because they were late."""
        return 0 if self._merge is None else self._merge.late_rows

    def batches(
        self,
        rows: int,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        resume_from: Offset | None = None,
    ) -> Iterator[SourceBatch]:
        """Yield the examples in event-time order; see `Source.batches`."""
        cursor = Cursor.start(since_ms)
        if resume_from is not None:
            cursor = Cursor.of(resume_from, self._marks, since_ms=since_ms, where=self.name)
        self._merge = merge = TimeMerge(
            [chunk for chunks in self._chunks.values() for chunk in chunks],
            reorder_rows=self._reorder_rows,
            late=self._late,
            since_ms=cursor.from_ms,
            until_ms=until_ms,
        )
        files = {path: dict(mark) for path, mark in self._marks.items()}
        read = unknown = 0
        for batch, after in with_cursors(cursor, rebatch(merge, rows, skip_rows=cursor.rows), merge):
            read, unknown = read + batch.num_rows, unknown + batch.column(USER_ID).null_count
            yield SourceBatch(batch, after.offset(files))
        if unknown:
            logger.warning(
                "%s: %d of %d rows have no %s: their viewer counts as unknown",
                self.name,
                unknown,
                read,
                USER_ID,
            )

    def users(self) -> Iterator[pa.RecordBatch]:
        """Yield `users.parquet`, or each user's latest values in the log."""
        return self._entities(USER_TABLE, USER_ID, unrelated=VIDEO_ID)

    def videos(self) -> Iterator[pa.RecordBatch]:
        """Yield `videos.parquet`, or each video's latest values in the log."""
        return self._entities(VIDEO_TABLE, VIDEO_ID, unrelated=USER_ID)

    def _entities(self, table: str, key: str, *, unrelated: str) -> Iterator[pa.RecordBatch]:
        paths = self._tables[table]
        if not paths:
            columns = [
                name
                for name in self._schema.names
                if name not in (TIME_MS, unrelated) and not name.startswith(QUERY_PREFIX)
            ]
            log = (pa.Table.from_batches([batch]).select(columns) for batch in self.records(_SCAN_ROWS))
            empty = self._schema.empty_table().select(columns)
            yield from last_known(empty, log, key).to_batches(max_chunksize=_SCAN_ROWS)
            return
        tables = {f"{path[: path.rindex(table)]}{table}" for path in paths}
        if len(tables) > 1:
            raise SourceError(f"{self.name}: expected one {table}, found {', '.join(sorted(tables))}")
        footers = {path: self._footer(path) for path in paths}
        schema = common_schema(
            {
                path: file_schema(footer.schema.to_arrow_schema(), required=(key,), where=path)
                for path, footer in footers.items()
            }
        )
        for path, footer in footers.items():
            for group in range(footer.num_row_groups):
                rows = self._read_group(path, group, footer, schema)
                yield from rows.to_batches(max_chunksize=_SCAN_ROWS)

    def _chunks_of(self, path: str, footer: pq.FileMetaData) -> Iterator[Chunk]:
        """The row groups of a file that are not empty.

        Raises:
            SourceError: A row has no time or no video, or its time is not plausible.
        """
        paths = [footer.schema.column(i).path for i in range(footer.num_columns)]
        for group in _filled(footer):
            read = partial(self._read_group, path, group, footer, identified=_IN_EVERY_ROW)
            statistics = {
                name: footer.row_group(group).column(paths.index(name)).statistics for name in _IN_EVERY_ROW
            }
            where = f"{path}, row group {group}"
            bounds = _time_bounds(statistics[TIME_MS], self._time_types[path])
            if bounds is None:
                times = self._read_group(path, group, footer, self._part(TIME_MS))[TIME_MS]
                bounds = tuple(pc.min_max(times).as_py().values())
                if bounds[0] is None:
                    raise SourceError(f"{where}: expected '{TIME_MS}' in every row, found none")
            for name, column in statistics.items():
                if column is not None and column.null_count:
                    read(self._part(name))  # says which row it is
            if self._times is not None and not (bounds[0] in self._times and bounds[1] in self._times):
                self._refuse_time(path, group, read(self._part(TIME_MS))[TIME_MS])
            yield Chunk(where, *bounds, partial(read, self._schema))

    def _refuse_lone_rows(self) -> None:
        groups = [
            (path, group, chunk)
            for path, chunks in self._chunks.items()
            for group, chunk in zip(_filled(self._footers[path]), chunks, strict=True)
        ]
        parts = []
        for path, group, chunk in groups:
            rows = self._footers[path].row_group(group).num_rows
            parts.append(Part(chunk.last_ms, rows, partial(self._times_of, path, group)))
        lone = lone_rows(parts)
        for path, group, chunk in groups:
            if lone is None or chunk.last_ms < lone.first_ms:
                continue
            late = self._times_of(path, group) >= lone.first_ms
            if late.any():
                row = _rows_before(self._footers[path], group) + int(late.argmax())
                raise SourceError(f"{path}, row {row}: {lone.mistake}")

    def _times_of(self, path: str, group: int) -> NDArray[np.int64]:
        times = self._read_group(path, group, self._footers[path], self._part(TIME_MS))[TIME_MS]
        found: NDArray[np.int64] = times.to_numpy()
        return found

    def _part(self, name: str) -> pa.Schema:
        return pa.schema([self._schema.field(name)])

    @cached_property
    def _marks(self) -> dict[str, FileMark]:
        """The mark of every file that is not empty."""
        return {path: self._mark(path, chunks) for path, chunks in self._chunks.items() if chunks}

    def _mark(self, path: str, chunks: list[Chunk]) -> FileMark:
        try:
            size = self._files.size(path)
            end = size - 8  # the last 8 bytes are the footer's length and the magic number
            footer = self._files.cat_file(path, start=end - self._footers[path].serialized_size, end=end)
        except OSError as error:
            raise SourceError(f"{path}: expected readable Parquet, found: {error}") from error
        return FileMark(
            bytes=size,
            footer=hashlib.sha256(footer).hexdigest(),
            first_ms=min(chunk.first_ms for chunk in chunks),
            last_ms=max(chunk.last_ms for chunk in chunks),
        )

    def _read_group(
        self,
        path: str,
        group: int,
        footer: pq.FileMetaData,
        schema: pa.Schema,
        *,
        identified: tuple[str, ...] = (),
    ) -> pa.Table:
        """Columns of a row group in the common schema; see `conform`."""
        there = set(footer.schema.to_arrow_schema().names)
        try:
            with self._open(path, metadata=footer) as file:
                table = file.read_row_group(group, columns=[name for name in schema.names if name in there])
        except (pa.ArrowException, OSError) as error:
            raise SourceError(
                f"{path}, row group {group}: expected readable Parquet, found: {error}"
            ) from error
        first_row = _rows_before(footer, group)
        return conform(table, schema, identified=identified, path=path, first_row=first_row)

    def _refuse_time(self, path: str, group: int, time_ms: pa.ChunkedArray) -> None:
        assert self._times is not None
        early = pc.less(time_ms, self._times.since_ms)
        outside = pc.or_(early, pc.greater_equal(time_ms, self._times.until_ms))
        row = pc.index(outside, True).as_py()
        if row >= 0:
            number = _rows_before(self._footers[path], group) + row
            raise SourceError(f"{path}, row {number}: {self._times.mistake(time_ms[row].as_py())}")

    def _footer(self, path: str) -> pq.FileMetaData:
        try:
            with self._open(path) as file:
                return file.metadata
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{path}: expected Parquet, found: {error}") from error

    def _open(self, path: str, *, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
        # Spark's old timestamps (INT96) reach beyond what nanoseconds can hold
        return pq.ParquetFile(
            path, metadata=metadata, filesystem=self._files, coerce_int96_timestamp_unit="ms"
        )


def _filled(footer: pq.FileMetaData) -> list[int]:
    return [group for group in range(footer.num_row_groups) if footer.row_group(group).num_rows]


def _rows_before(footer: pq.FileMetaData, group: int) -> int:
    return sum(footer.row_group(earlier).num_rows for earlier in range(group))


def _time_bounds(statistics: pq.Statistics | None, kind: Any) -> tuple[int, int] | None:
    """The earliest and the latest time by a row group's statistics; None if they do not say."""
    if statistics is None or not statistics.has_min_max:
        return None
    if pa.types.is_timestamp(kind):
        bounds = pa.array([statistics.min_raw, statistics.max_raw], pa.int64()).cast(kind)
        return tuple(event_ms(bounds).to_pylist())
    return int(statistics.min), int(statistics.max)
