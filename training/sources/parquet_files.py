"""Parquet files that are read in one schema, a row group at a time."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ranker.errors import SourceError
from ranker.events import TIME_MS
from training.sources.log_columns import common_schema, conform, event_ms, file_schema


class ParquetFiles:
    """The files of a log, or of a table of users or videos.

    Args:
        filesystem: Where they are.
        paths: At least one.
        required: Columns that every file has.

    Attributes:
        schema: In which all of them are read.
        footers: Each file's metadata.

    Raises:
        SourceError: A file is not Parquet, lacks a required column, has one twice, or differs from another
            in the type of a column.
    """

    def __init__(
        self, filesystem: fsspec.AbstractFileSystem, paths: Sequence[str], *, required: Collection[str]
    ) -> None:
        self._filesystem = filesystem
        self.footers = {path: self._footer(path) for path in paths}
        self._numbers = {
            path: {footer.schema.column(number).path: number for number in range(footer.num_columns)}
            for path, footer in self.footers.items()
        }
        self._own_schemas = {
            path: file_schema(footer.schema.to_arrow_schema(), required=required, where=path)
            for path, footer in self.footers.items()
        }
        self.schema = common_schema(self._own_schemas)

    def row_groups(self, path: str) -> Iterator["RowGroup"]:
        """The row groups of a file that are not empty."""
        first_row = 0
        for number in range(self.footers[path].num_row_groups):
            rows = self.footers[path].row_group(number).num_rows
            if rows:
                yield RowGroup(self, path, number, first_row, rows)
            first_row += rows

    def read(self, group: "RowGroup", names: Collection[str]) -> pa.Table:
        """Columns of a row group as its file has them; those that it lacks are left out."""
        there = [name for name in names if name in self._own_schemas[group.path].names]
        try:
            with self._open(group.path, metadata=self.footers[group.path]) as file:
                return file.read_row_group(group.number, columns=there)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{group.where}: expected readable Parquet, found: {error}") from error

    def column_number(self, path: str, name: str) -> int:
        """The place of a column among a file's, of which a nested one counts as several."""
        return self._numbers[path][name]

    def time_type(self, path: str) -> Any:
        """The type of a file's times."""
        return self._own_schemas[path].field(TIME_MS).type

    def _footer(self, path: str) -> pq.FileMetaData:
        try:
            with self._open(path) as file:
                return file.metadata
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{path}: expected Parquet, found: {error}") from error

    def _open(self, path: str, *, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
        # Spark's old timestamps (INT96) reach beyond what nanoseconds can hold
        return pq.ParquetFile(
            path, metadata=metadata, filesystem=self._filesystem, coerce_int96_timestamp_unit="ms"
        )


@dataclass(frozen=True)
class RowGroup:
    """A part of a file that is read at once.

    Attributes:
        files: Its file and others.
        path: Its file.
        number: Its place in the file, from 0.
        first_row: The number of its first row in the file, from 0.
        rows: How many rows it has.
    """

    files: ParquetFiles
    path: str
    number: int
    first_row: int
    rows: int

    @property
    def where(self) -> str:
        """Its name in messages."""
        return f"{self.path}, row group {self.number}"

    def read(self, *names: str, identified: Collection[str] = ()) -> pa.Table:
        """Read columns in the common schema.

        Args:
            names: The columns; all of the schema's if none is given.
            identified: Columns that have a value in every row.

        Raises:
            SourceError: The row group is damaged, or a value does not fit; see `conform`.
        """
        schema = self.files.schema
        if names:
            schema = pa.schema([schema.field(name) for name in names])
        table = self.files.read(self, schema.names)
        return conform(table, schema, identified=identified, path=self.path, first_row=self.first_row)

    def times(self) -> NDArray[np.int64]:
        """The times of its rows, of which none may be missing."""
        found: NDArray[np.int64] = self.read(TIME_MS, identified=(TIME_MS,))[TIME_MS].to_numpy()
        return found

    def statistics(self, name: str) -> pq.Statistics | None:
        """What the file's footer says of a column; None if nothing."""
        footer, column = self.files.footers[self.path], self.files.column_number(self.path, name)
        return footer.row_group(self.number).column(column).statistics

    def time_bounds(self) -> tuple[int, int] | None:
        """The earliest and the latest time by the footer's statistics; None if they do not say."""
        statistics = self.statistics(TIME_MS)
        if statistics is None or not statistics.has_min_max:
            return None
        kind = self.files.time_type(self.path)
        if pa.types.is_timestamp(kind):
            raw = pa.array([statistics.min_raw, statistics.max_raw], pa.int64())
            return tuple(event_ms(raw.cast(kind)).to_pylist())
        return int(statistics.min), int(statistics.max)
