"""Offsets in a log of Parquet files: the time up to which everything was taken, and marks of the files.

A file is *taken* if all its rows lie before that time, *begun* if some may, and *untouched* if none does.
Taken files must be as they were or gone; begun ones must be as they were; untouched ones may change as long
as they stay untouched, and new files may only be untouched ones.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, NonNegativeInt

from ranker.errors import SourceError
from ranker.events import TIME_MS
from training.sources.base import Offset
from training.sources.merge import TimeMerge
from training.sources.offsets import parse_offset, refuse_change


class FileMark(BaseModel):
    """What a file of the log is recognised by.

    Attributes:
        bytes: Its size.
        footer: sha256 of its footer, which has position, size and bounds of every column chunk.
        first_ms: Its earliest time.
        last_ms: Its latest time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int
    footer: str
    first_ms: int
    last_ms: int


class _Saved(BaseModel):
    """An offset; the attributes are those of `Place`."""

    model_config = ConfigDict(extra="forbid")

    since_ms: int | None
    from_ms: int | None
    rows: NonNegativeInt
    before_ms: int | None
    ties: NonNegativeInt
    overflowed: bool
    files: dict[str, FileMark]


@dataclass(frozen=True)
class Place:
    """How far a log was read.

    Attributes:
        since_ms: The first time that was included.
        from_ms: The time from which the log was read: `since_ms`, or where it was resumed.
        rows: Rows taken from there on.
        before_ms: Every row of an earlier time was taken; None before the first one.
        ties: Rows of the time `before_ms` itself that were taken.
        overflowed: Whether the reorder buffer had overflowed by then. Then the rows depend on all files since
            `from_ms`, and resuming reads them again.
    """

    since_ms: int | None
    from_ms: int | None
    rows: int = 0
    before_ms: int | None = None
    ties: int = 0
    overflowed: bool = False

    @classmethod
    def start(cls, since_ms: int | None) -> Self:
        """Before the first row."""
        return cls(since_ms, since_ms)

    @classmethod
    def of(cls, offset: Offset, files: dict[str, FileMark], *, since_ms: int | None, where: str) -> Self:
        """Read an offset, and compare the files of then with those of now.

        Raises:
            SourceError: A file changed, vanished or came in a way that changes the rows before the offset, or
                the log is read from another time on.
        """
        saved = parse_offset(offset, _Saved, where=where)
        if saved.since_ms != since_ms:
            raise SourceError(
                f"{where}: expected to go on reading from time_ms {saved.since_ms} on, found {since_ms}"
            )
        place = cls(since_ms, saved.from_ms, saved.rows, saved.before_ms, saved.ties, saved.overflowed)
        for path, mark in saved.files.items():
            place._check(path, mark, files.get(path))
        for path in sorted(files.keys() - saved.files.keys()):
            place._check_untouched(path, files[path])
        if place.overflowed or place.before_ms is None:
            return place
        return replace(place, from_ms=place.before_ms, rows=place.ties)

    def offset(self, files: dict[str, dict[str, Any]]) -> Offset:
        """As JSON, with the marks of the files, as JSON too."""
        return {
            "since_ms": self.since_ms,
            "from_ms": self.from_ms,
            "rows": self.rows,
            "before_ms": self.before_ms,
            "ties": self.ties,
            "overflowed": self.overflowed,
            "files": files,
        }

    def _untouched(self, mark: FileMark) -> bool:
        return self.before_ms is None or mark.first_ms >= self.before_ms + (self.ties > 0)

    def _check(self, path: str, mark: FileMark, found: FileMark | None) -> None:
        needed_ms = self.from_ms if self.overflowed else self.before_ms
        taken = needed_ms is not None and mark.last_ms < needed_ms
        if self._untouched(mark):
            if found is not None:
                self._check_untouched(path, found)
        elif found is not None:
            refuse_change(path, dict(mark), dict(found))
        elif not taken:
            raise SourceError(
                f"{path}: expected this file, of which the rows up to time_ms {self.before_ms} were learned "
                "from, found none"
            )

    def _check_untouched(self, path: str, mark: FileMark) -> None:
        if not self._untouched(mark):
            raise SourceError(
                f"{path}: expected new rows to be later than those that were learned from, up to time_ms "
                f"{self.before_ms}, found time_ms {mark.first_ms}"
            )


def following(
    place: Place, batches: Iterable[pa.RecordBatch], merge: TimeMerge
) -> Iterator[tuple[pa.RecordBatch, Place]]:
    """Yield batches with the place after each.

    Args:
        place: Before the first batch.
        batches: In event-time order.
        merge: Where they come from.
    """
    for batch, after in pairwise(chain(batches, [None])):
        assert batch is not None  # only the last one has nothing after it
        place = _after(place, batch, after, overflowed=place.overflowed or merge.overflowed)
        yield batch, place


def _after(place: Place, batch: pa.RecordBatch, after: pa.RecordBatch | None, *, overflowed: bool) -> Place:
    time_ms = batch.column(TIME_MS).to_numpy()
    newest_ms = int(time_ms[-1])
    rows = place.rows + batch.num_rows
    if after is None or after.column(TIME_MS)[0].as_py() > newest_ms:
        return replace(place, rows=rows, before_ms=newest_ms + 1, ties=0, overflowed=overflowed)
    ties = batch.num_rows - int(np.searchsorted(time_ms, newest_ms))
    if ties == batch.num_rows and place.before_ms == newest_ms:
        ties += place.ties
    return replace(place, rows=rows, before_ms=newest_ms, ties=ties, overflowed=overflowed)
