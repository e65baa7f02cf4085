"""Parquet: a file, a folder, a glob or any fsspec URL, read as one log in event-time order."""

import hashlib
import posixpath
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Self

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.core import has_magic

from ranker.errors import SourceError
from ranker.events import QUERY_PREFIX, TIME_MS, USER_ID, VIDEO_ID, check_records
from training.sources.base import Offset, SourceBatch, SourceKind
from training.sources.last_known import last_known
from training.sources.merge import DEFAULT_REORDER_ROWS, Chunk, Late, TimeMerge, rebatch
from training.sources.parquet_offset import Cursor, FileMark, with_cursors

USER_TABLE = "users.parquet"
VIDEO_TABLE = "videos.parquet"
_SCAN_ROWS = 65_536


class ParquetSource(SourceKind):
    """Examples in Parquet files, merged by time across files and row groups.

    Row groups that do not overlap in time are read one at a time. Rows of overlapping ones wait in a buffer
    of `reorder_rows` rows; rows that are late by more than that are dropped and counted, or refused.

    Files named `users.parquet` and `videos.parquet` are the tables of users and videos and not part of the
    log. Without them, a user's or video's row has the latest value of every column in the log.

    An offset has the time up to which all rows were read, and a mark of every file. Resuming reads the rows
    from that time on; older files may have been deleted, and newer ones may have been added. If the buffer
    overflowed before, the rows depend on all files, and resuming reads all of them again.
    """

    kind: ClassVar[str] = "parquet"
    layout: ClassVar[str | None] = "*.parquet files, a glob or a URL"

    def __init__(self, url: str, *, late: Late = "drop", reorder_rows: int = DEFAULT_REORDER_ROWS) -> None:
        """Find the files and compare their schemas.

        Args:
            url: A file, a folder (searched through all its folders for *.parquet), a glob or an fsspec URL.
            late: Whether rows that are late by more than the buffer are dropped or refused.
            reorder_rows: Capacity of the reorder buffer.

        Raises:
            SourceError: No file matches, one is not Parquet, or two differ in a column.
        """
        self.name = f"parquet {url}"
        self._late: Late = late
        self._reorder_rows = reorder_rows
        self._merge: TimeMerge | None = None
        self._files, matched = _find_files(url)
        self._tables = {
            table: [path for path in matched if posixpath.basename(path) == table]
            for table in (USER_TABLE, VIDEO_TABLE)
        }
        log = [path for path in matched if posixpath.basename(path) not in self._tables]
        if not log:
            raise SourceError(
                f"{url}: expected a log in *.parquet, found {', '.join(matched) or 'no such file'}"
            )
        self._footers = {path: self._footer(path) for path in log}
        self._schema = _common_schema(self._footers)

    @classmethod
    def recognises(cls, data: str | None) -> bool:
        """Whether the data is a URL, a glob, a .parquet file or a folder that contains one."""
        if data is None:
            return False
        path = Path(data)
        return "://" in data or has_magic(data) or path.suffix == ".parquet" or any(path.rglob("*.parquet"))

    @classmethod
    def open(cls, data: str | None) -> Self:
        """Open files; see `SourceKind.open`."""
        assert data is not None
        return cls(data)

    @property
    def schema(self) -> pa.Schema:
        """Schema of the batches: the files' columns, `time_ms` as int64 and dictionaries decoded."""
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
        for batch, after in with_cursors(cursor, rebatch(merge, rows, skip_rows=cursor.rows), merge):
            yield SourceBatch(batch, after.offset(files))

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
                for name in self._schema.names
                if name not in (TIME_MS, unrelated) and not name.startswith(QUERY_PREFIX)
            ]
            log = (pa.Table.from_batches([batch]).select(columns) for batch in self.records(_SCAN_ROWS))
            empty = self._schema.empty_table().select(columns)
            yield from last_known(empty, log, key).to_batches(max_chunksize=_SCAN_ROWS)
            return
        if len(paths) > 1:
            raise SourceError(f"{self.name}: expected one {table}, found {', '.join(paths)}")
        with self._open(paths[0]) as file:
            if key not in file.schema_arrow.names:
                raise SourceError(
                    f"{paths[0]}: expected a column '{key}', found {', '.join(file.schema_arrow.names)}"
                )
            yield from file.iter_batches(_SCAN_ROWS)

    @cached_property
    def _chunks(self) -> dict[str, list[Chunk]]:
        """The row groups of every file that are not empty."""
        return {path: list(self._chunks_of(path, footer)) for path, footer in self._footers.items()}

    def _chunks_of(self, path: str, footer: pq.FileMetaData) -> Iterator[Chunk]:
        time_column = [footer.schema.column(i).path for i in range(footer.num_columns)].index(TIME_MS)
        for group in range(footer.num_row_groups):
            if not footer.row_group(group).num_rows:
                continue
            where, read = f"{path}, row group {group}", partial(self._read_group, path, group)
            times = footer.row_group(group).column(time_column).statistics
            if times is not None and times.has_min_max:
                yield Chunk(where, times.min, times.max, read)
                continue
            bounds = pc.min_max(read([TIME_MS])[TIME_MS]).as_py()
            if bounds["min"] is None:
                raise SourceError(f"{where}: expected '{TIME_MS}' in every row, found none")
            yield Chunk(where, bounds["min"], bounds["max"], read)

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

    def _read_group(self, path: str, group: int, columns: list[str] | None = None) -> pa.Table:
        names = columns or self._schema.names
        fields = pa.schema([self._schema.field(name) for name in names])
        try:
            with self._open(path, metadata=self._footers[path]) as file:
                return file.read_row_group(group, columns=names).select(names).cast(fields)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(
                f"{path}, row group {group}: expected readable Parquet, found: {error}"
            ) from error

    def _footer(self, path: str) -> pq.FileMetaData:
        try:
            with self._open(path) as file:
                return file.metadata
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{path}: expected Parquet, found: {error}") from error

    def _open(self, path: str, *, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
        return pq.ParquetFile(path, metadata=metadata, filesystem=self._files)


def _find_files(url: str) -> tuple[fsspec.AbstractFileSystem, list[str]]:
    """Return the filesystem and the sorted paths that a URL matches."""
    try:
        files, path = fsspec.url_to_fs(url)
        paths: list[str] = []
        for match in [path] if files.exists(path) else files.glob(path):
            if files.isdir(match):
                paths += [found for found in files.find(match) if found.endswith(".parquet")]
            else:
                paths.append(match)
        return files, sorted(paths)
    except (OSError, ValueError, ImportError) as error:
        raise SourceError(f"{url}: expected a file, folder, glob or fsspec URL, found: {error}") from error


def _common_schema(footers: dict[str, pq.FileMetaData]) -> pa.Schema:
    """Return the schema that all files share.

    Raises:
        SourceError: Two files differ, or a column that every example has is missing; the message names the
            file and the column.
    """
    first, *others = footers
    schema = _plain(footers[first].schema.to_arrow_schema())
    check_records(schema, where=first)
    for path in others:
        other = _plain(footers[path].schema.to_arrow_schema())
        for name in [*schema.names, *other.names]:
            expected, found = _type(schema, name), _type(other, name)
            if expected != found:
                raise SourceError(
                    f"{path}: expected column '{name}' to be {expected or 'absent'} as in {first}, "
                    f"found {found or 'none'}"
                )
    return schema.set(schema.get_field_index(TIME_MS), pa.field(TIME_MS, pa.int64()))


def _plain(schema: pa.Schema) -> pa.Schema:
    """Return the schema without metadata and with dictionaries decoded, which differ from file to file."""
    types: list[Any] = [field.type for field in schema]
    return pa.schema(
        [
            (name, kind.value_type if pa.types.is_dictionary(kind) else kind)
            for name, kind in zip(schema.names, types, strict=True)
        ]
    )


def _type(schema: pa.Schema, name: str) -> pa.DataType | None:
    return schema.field(name).type if name in schema.names else None
