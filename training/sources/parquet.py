"""Parquet: a file, a folder, a glob or any fsspec URL, read as one log in event-time order."""

import copy
import hashlib
import logging
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.core import has_magic

from ranker.errors import SourceError
from ranker.event_times import TimeRange
from ranker.events import QUERY_PREFIX, REQUIRED, TIME_MS, USER_ID, VIDEO_ID
from ranker.files.secrets import shown
from training.sources.base import Offset, SourceBatch, SourceKind
from training.sources.discovery import find_files, has_files
from training.sources.last_known import last_known
from training.sources.lateness import Lateness
from training.sources.lone_times import Part, lone_rows
from training.sources.merge import DEFAULT_REORDER_ROWS, Chunk, Late, TimeMerge, rebatch
from training.sources.parquet_files import ParquetFiles, RowGroup
from training.sources.parquet_offset import Cursor, FileMark, with_cursors

logger = logging.getLogger(__name__)

USER_TABLE = "users.parquet"
VIDEO_TABLE = "videos.parquet"
_IN_EVERY_ROW = (TIME_MS, VIDEO_ID)
_SCAN_ROWS = 65_536


class ParquetSource(SourceKind):
    """Examples in Parquet files, merged by time across files and row groups.

    Row groups that do not overlap in time are read one at a time. Rows of overlapping ones wait in a buffer
    of `reorder_rows` rows; rows that are late by more than that are dropped and counted, or refused.

    Files named `users.parquet` and `videos.parquet` are the tables of users and videos and not part of the
    log; a folder of that name is such a table in parts. Without them, a user's or video's row has the latest
    value of every column in the log.

    Every row has a video. A row without a viewer's id is of an unknown viewer; such rows are counted.

    An offset has the time up to which all rows were read, and a mark of every file. Resuming reads the rows
    from that time on; older files may have been deleted, and newer ones may have been added. Older rows of
    new files come too late: `Lateness` says what is done about them. If the buffer overflowed before, the
    rows depend on all files, and resuming reads all of them again.
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
        self.name = f"parquet {shown(url)}"
        self._late: Late = late
        self._lateness = Lateness()
        self._skipped_rows = 0
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
            raise SourceError(f"{shown(url)}: expected a log in *.parquet, found {matched}")
        if found.left_out:
            logger.warning("%s: %s", self.name, found.left_out)
        self._log = ParquetFiles(found.filesystem, log, required=REQUIRED)
        self._chunks = {path: [self._chunk(group) for group in self._log.row_groups(path)] for path in log}
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

    def with_lateness(self, lateness: Lateness) -> Self:
        """See `Source.with_lateness`."""
        other = copy.copy(self)
        other._lateness = lateness
        return other

    @property
    def schema(self) -> pa.Schema:
        """Schema of the batches: the files' columns in types that hold the values of all of them."""
        return self._log.schema

    @property
    def footers(self) -> Mapping[str, pq.FileMetaData]:
        """The metadata of every file of the log, by its path."""
        return self._log.footers

    @property
    def late_rows(self) -> int:
        """Rows that the last pass left out because they were late."""
        return self._skipped_rows + (0 if self._merge is None else self._merge.late_rows)

    def batches(
        self,
        rows: int,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        resume_from: Offset | None = None,
    ) -> Iterator[SourceBatch]:
        """Yield the examples in event-time order; see `Source.batches`."""
        cursor, self._skipped_rows = Cursor.start(since_ms), 0
        if resume_from is not None:
            cursor = Cursor.of(
                resume_from,
                self._marks,
                since_ms=since_ms,
                where=self.name,
                late=self._lateness.late,
            )
            self._skipped_rows = self._count_late(cursor, resume_from["left_out"])
        self._merge = merge = TimeMerge(
            list(self._chunks_after(cursor)),
            reorder_rows=self._reorder_rows,
            late=self._late,
            since_ms=cursor.from_ms,
            until_ms=self._settled_ms(until_ms),
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

    def time_range(self) -> tuple[int, int] | None:
        """The bounds of the row groups; see `Source.time_range`."""
        chunks = [chunk for chunks in self._chunks.values() for chunk in chunks]
        if not chunks:
            return None
        return min(chunk.first_ms for chunk in chunks), max(chunk.last_ms for chunk in chunks)

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
                for name in self._log.schema.names
                if name not in (TIME_MS, unrelated) and not name.startswith(QUERY_PREFIX)
            ]
            log = (pa.Table.from_batches([batch]).select(columns) for batch in self.records(_SCAN_ROWS))
            empty = self._log.schema.empty_table().select(columns)
            yield from last_known(empty, log, key).to_batches(max_chunksize=_SCAN_ROWS)
            return
        tables = {f"{path[: path.rindex(table)]}{table}" for path in paths}
        if len(tables) > 1:
            raise SourceError(f"{self.name}: expected one {table}, found {', '.join(sorted(tables))}")
        files = ParquetFiles(self._files, paths, required=(key,))
        for path in paths:
            for group in files.row_groups(path):
                yield from group.read().to_batches(max_chunksize=_SCAN_ROWS)

    def _chunk(self, group: RowGroup) -> Chunk:
        """Check the times of a row group, by the footer's statistics if they are there.

        Raises:
            SourceError: A row has no time or no video, or its time is not plausible.
        """
        bounds = group.time_bounds()
        if bounds is None:
            bounds = tuple(pc.min_max(group.read(TIME_MS)[TIME_MS]).as_py().values())
            if bounds[0] is None:
                raise SourceError(f"{group.where}: expected '{TIME_MS}' in every row, found none")
        for name in _IN_EVERY_ROW:
            statistics = group.statistics(name)
            if statistics is not None and statistics.null_count:
                group.read(name, identified=_IN_EVERY_ROW)  # says which row it is
        times = self._times
        if times is not None and not (bounds[0] in times and bounds[1] in times):
            found = group.times()
            outside = (found < times.since_ms) | (found >= times.until_ms)
            if outside.any():
                row = int(outside.argmax())
                raise SourceError(
                    f"{group.path}, row {group.first_row + row}: {times.mistake(int(found[row]))}"
                )
        return Chunk(group.where, *bounds, partial(group.read, identified=_IN_EVERY_ROW))

    def _settled_ms(self, until_ms: int | None) -> int | None:
        """The time before which no more rows are expected, or `until_ms` if that is earlier."""
        if not self._lateness.wait_ms:
            return until_ms
        newest_ms = max((mark.last_ms for mark in self._marks.values()), default=0)
        settled_ms = newest_ms - self._lateness.wait_ms
        return settled_ms if until_ms is None else min(settled_ms, until_ms)

    def _chunks_after(self, cursor: Cursor) -> Iterator[Chunk]:
        """The row groups without the rows that a cursor leaves out."""
        for path, chunks in self._chunks.items():
            first_ms = cursor.left_out.get(path)
            for chunk in chunks:
                kept = chunk if first_ms is None else chunk.since(first_ms)
                if kept is not None:
                    yield kept

    def _count_late(self, cursor: Cursor, known: Mapping[str, int]) -> int:
        """Count the rows that a cursor leaves out of files that are not known, and name the files."""
        total = 0
        for path in sorted(cursor.left_out.keys() - known.keys()):
            before_ms, rows = cursor.left_out[path], 0
            for chunk in self._chunks[path]:
                if chunk.first_ms < before_ms:
                    times = chunk.read()[TIME_MS].to_numpy()
                    inside = times >= (-np.inf if cursor.since_ms is None else cursor.since_ms)
                    rows += int(np.count_nonzero(inside & (times < before_ms)))
            logger.warning(
                "%s: left out %d rows that came late: they are older than time_ms %d, before which all was "
                "learned from",
                path,
                rows,
                before_ms,
            )
            total += rows
        return total

    def _refuse_lone_rows(self) -> None:
        """Raise an error if the newest rows are few and far after all others."""
        groups = [group for path in self._chunks for group in self._log.row_groups(path)]
        chunks = [chunk for chunks in self._chunks.values() for chunk in chunks]
        parts = [
            Part(chunk.last_ms, group.rows, group.times) for chunk, group in zip(chunks, groups, strict=True)
        ]
        lone = lone_rows(parts)
        for part, group in zip(parts, groups, strict=True):
            if lone is None or part.last_ms < lone.first_ms:
                continue
            late = part.times() >= lone.first_ms
            if late.any():
                raise SourceError(f"{group.path}, row {group.first_row + int(late.argmax())}: {lone.mistake}")

    @cached_property
    def _marks(self) -> dict[str, FileMark]:
        """The mark of every file that is not empty."""
        return {path: self._mark(path, chunks) for path, chunks in self._chunks.items() if chunks}

    def _mark(self, path: str, chunks: list[Chunk]) -> FileMark:
        try:
            size = self._files.size(path)
            end = size - 8  # the last 8 bytes are the footer's length and the magic number
            footer = self._files.cat_file(path, start=end - self._log.footers[path].serialized_size, end=end)
        except OSError as error:
            raise SourceError(f"{path}: expected readable Parquet, found: {error}") from error
        return FileMark(
            bytes=size,
            footer=hashlib.sha256(footer).hexdigest(),
            first_ms=min(chunk.first_ms for chunk in chunks),
            last_ms=max(chunk.last_ms for chunk in chunks),
        )
