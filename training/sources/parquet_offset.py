"""Offsets in a log of Parquet files: the time up to which all rows were read, and a mark of every file.

A file is *read* if all its rows are before that time, *begun* if some may be, and *unread* if none is.
Between two runs, a read file may be deleted but not changed, a begun one may be neither, and an unread one
may be changed as long as it stays unread. A new file must be unread, or its rows of earlier times are left
out. Files that end before the first time that is included are of no concern.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, NonNegativeInt

from ranker.errors import SourceError
from ranker.events import TIME_MS
from training.sources.base import Offset
from training.sources.lateness import TooLate
from training.sources.merge import TimeMerge
from training.sources.offsets import parse_offset, refuse_change


class FileMark(BaseModel):
    """Fingerprint of a file of the log.

    Attributes:
        bytes: The file's size.
        footer: sha256 of the footer, which has the offset, size and bounds of every column chunk.
        first_ms: The earliest time of a row.
        last_ms: The latest time of a row.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int
    footer: str
    first_ms: int
    last_ms: int


class _Saved(BaseModel):
    """An offset: the attributes of `Cursor`, and the mark of every file by its path."""

    model_config = ConfigDict(extra="forbid")

    since_ms: int | None
    from_ms: int | None
    rows: NonNegativeInt
    before_ms: int | None
    ties: NonNegativeInt
    overflowed: bool
    left_out: dict[str, int]
    files: dict[str, FileMark]


@dataclass(frozen=True)
class Cursor:
    """How far a log was read.

    Attributes:
        since_ms: The first time that was included.
        from_ms: The time from which this run reads: `since_ms`, or the time at which it resumed.
        rows: Rows read from there on.
        before_ms: All rows of earlier times were read; None before the first row.
        ties: Rows of the time `before_ms` itself that were read.
        overflowed: Whether the reorder buffer has overflowed. Then the rows depend on all files since
            `from_ms`, and resuming reads them again.
        left_out: For files that came late, the time before which their rows are left out.
    """

    since_ms: int | None
    from_ms: int | None
    rows: int = 0
    before_ms: int | None = None
    ties: int = 0
    overflowed: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def start(cls, since_ms: int | None) -> Self:
        """Before the first row."""
        return cls(since_ms, since_ms)

    @classmethod
    def of(
        cls,
        offset: Offset,
        files: Mapping[str, FileMark],
        *,
        since_ms: int | None,
        where: str,
        late: TooLate = TooLate.REFUSE,
    ) -> Self:
        """Parse an offset, and compare its files with the present ones.

        Args:
            offset: What an earlier run reached.
            files: The present files' marks by path.
            since_ms: The first time that is included.
            where: The log's name in messages.
            late: What is done about older rows of new files.

        Raises:
            SourceError: A file was changed, deleted or added in a way that changes the rows before the
                offset, or the log is read from another time on.
        """
        saved = parse_offset(offset, _Saved, where=where)
        if saved.since_ms != since_ms:
            raise SourceError(
                f"{where}: expected to go on reading from time_ms {saved.since_ms} on, found {since_ms}"
            )
        cursor = cls(since_ms, saved.from_ms, saved.rows, saved.before_ms, saved.ties, saved.overflowed)
        if cursor.before_ms is None:
            return cursor
        known, found = (
            {path: mark for path, mark in marks.items() if since_ms is None or mark.last_ms >= since_ms}
            for marks in (saved.files, files)
        )
        for path, mark in known.items():
            if not cursor._unread(mark):
                cursor._check(path, mark, found.get(path))
        fresh = [path for path in found if path not in known or cursor._unread(known[path])]
        too_late = [path for path in sorted(fresh) if not cursor._unread(found[path])]
        if too_late and late is TooLate.REFUSE:
            raise cursor._too_late(too_late[0], found[too_late[0]])
        left_out = {path: time_ms for path, time_ms in saved.left_out.items() if path in found}
        cursor = replace(cursor, left_out=left_out | dict.fromkeys(too_late, cursor._next_ms))
        if cursor.overflowed:
            return cursor
        return replace(cursor, from_ms=cursor.before_ms, rows=cursor.ties)

    def offset(self, files: dict[str, dict[str, Any]]) -> Offset:
        """Return the offset as a JSON object, given the files' marks as JSON objects."""
        return {
            "since_ms": self.since_ms,
            "from_ms": self.from_ms,
            "rows": self.rows,
            "before_ms": self.before_ms,
            "ties": self.ties,
            "overflowed": self.overflowed,
            "left_out": dict(self.left_out),
            "files": files,
        }

    @property
    def _next_ms(self) -> int:
        """The first time of which no row was read."""
        assert self.before_ms is not None
        return self.before_ms + (self.ties > 0)

    def _unread(self, mark: FileMark) -> bool:
        return self.before_ms is None or mark.first_ms >= self._next_ms

    def _check(self, path: str, mark: FileMark, found: FileMark | None) -> None:
        """Refuse that a file of which rows were read was changed, or deleted before all of them were."""
        needed_ms = self.from_ms if self.overflowed else self.before_ms
        if found is not None:
            refuse_change(path, dict(mark), dict(found))
        elif needed_ms is None or mark.last_ms >= needed_ms:
            raise SourceError(
                f"{path}: expected this file, of which the rows before time_ms {self._next_ms} were learned "
                "from and the others were not, found none; put it back, or "
                "train without --resume to start anew"
            )

    def _too_late(self, path: str, mark: FileMark) -> SourceError:
        return SourceError(
            f"{path}: expected new rows to be later than those that were learned from, those before time_ms "
            f"{self._next_ms}, found time_ms {mark.first_ms}; --late skip leaves older rows out, "
            "--late-by lets later runs wait for them, training without --resume learns everything anew"
        )


def with_cursors(
    cursor: Cursor, batches: Iterable[pa.RecordBatch], merge: TimeMerge
) -> Iterator[tuple[pa.RecordBatch, Cursor]]:
    """Yield batches with the cursor after each.

    Args:
        cursor: The cursor before the first batch.
        batches: Batches in event-time order.
        merge: The merge that yields the batches' rows.
    """
    for batch, after in pairwise(chain(batches, [None])):
        assert batch is not None  # pairwise puts None after the last batch only
        cursor = _after(cursor, batch, after, overflowed=cursor.overflowed or merge.overflowed)
        yield batch, cursor


def _after(
    cursor: Cursor, batch: pa.RecordBatch, after: pa.RecordBatch | None, *, overflowed: bool
) -> Cursor:
    time_ms = batch.column(TIME_MS).to_numpy()
    newest_ms = int(time_ms[-1])
    rows = cursor.rows + batch.num_rows
    if after is None or after.column(TIME_MS)[0].as_py() > newest_ms:
        return replace(cursor, rows=rows, before_ms=newest_ms + 1, ties=0, overflowed=overflowed)
    ties = batch.num_rows - int(np.searchsorted(time_ms, newest_ms))
    if ties == batch.num_rows and cursor.before_ms == newest_ms:
        ties += cursor.ties
    return replace(cursor, rows=rows, before_ms=newest_ms, ties=ties, overflowed=overflowed)
