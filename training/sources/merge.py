"""Event-time merge: the chunks of a log become one ordered stream, in bounded memory.

The earliest and latest time of a chunk, such as a row group of a Parquet file, is known before it is read.
Chunks are read in the order of their earliest times, and a row is emitted once no unread chunk can hold an
earlier one. So chunks that do not overlap in time are in memory one at a time; the rows of those that overlap
wait in the reorder buffer, whose size is bounded.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ranker.errors import SourceError
from ranker.events import TIME_MS

logger = logging.getLogger(__name__)

Late = Literal["drop", "refuse"]
DEFAULT_REORDER_ROWS = 1_000_000
_BOUNDS_MS = np.iinfo(np.int64)


@dataclass(frozen=True)
class Chunk:
    """A part of a log that is read at once.

    Attributes:
        where: Its name in messages: the file and the part of it.
        first_ms: No row is earlier.
        last_ms: No row is later.
        read: Reads the rows, in any order. All chunks have the same schema.
    """

    where: str
    first_ms: int
    last_ms: int
    read: Callable[[], pa.Table]

    def since(self, time_ms: int) -> "Chunk | None":
        """The chunk without its rows of earlier times; None if no row can be left."""
        if self.last_ms < time_ms:
            return None
        if self.first_ms >= time_ms:
            return self
        return replace(self, first_ms=time_ms, read=partial(self._read_since, time_ms))

    def _read_since(self, time_ms: int) -> pa.Table:
        table = self.read()
        return table.filter(pc.fill_null(pc.greater_equal(table[TIME_MS], time_ms), fill_value=True))


class TimeMerge:
    """Iterates over the rows of all chunks, oldest first, as tables of varying size.

    Rows of the same time are in one table, in the order of the chunks and of the rows in them, unless the
    reorder buffer has overflowed. An earlier `until_ms` yields a prefix of the same rows. A later `since_ms`
    yields a suffix, unless rows are late: chunks that end before it are not read and take no room in the
    buffer, so fewer rows are late.

    Attributes:
        late_rows: Rows dropped so far because later ones had been emitted.
        max_buffered_rows: Largest number of rows that were held at once.
        overflowed: Whether the buffer has emitted rows early. Until it does, the rows from any time on depend
            on no chunk that ends before that time.
    """

    def __init__(
        self,
        chunks: Sequence[Chunk],
        *,
        reorder_rows: int | None = DEFAULT_REORDER_ROWS,
        late: Late = "drop",
        since_ms: int | None = None,
        until_ms: int | None = None,
    ) -> None:
        """Prepare the merge; nothing is read yet.

        Args:
            chunks: The parts of the log; their order decides between rows of the same time.
            reorder_rows: Capacity of the reorder buffer; beyond it the oldest rows are emitted early. None
                for as many rows as the overlap of the chunks needs.
            late: Whether a row that is earlier than one already emitted is dropped or refused.
            since_ms: First time that is included; None for no bound.
            until_ms: First time that is excluded; None for no bound.
        """
        self.late_rows = 0
        self.max_buffered_rows = 0
        self.overflowed = False
        self._since_ms = _BOUNDS_MS.min if since_ms is None else since_ms
        self._until_ms = _BOUNDS_MS.max if until_ms is None else until_ms
        self._reorder_rows = reorder_rows
        self._late = late
        inside = [
            (index, chunk)
            for index, chunk in enumerate(chunks)
            if chunk.last_ms >= self._since_ms and chunk.first_ms < self._until_ms
        ]
        self._unopened = sorted(inside, key=lambda indexed: indexed[1].first_ms)

    def __iter__(self) -> Iterator[pa.Table]:
        """Read the chunks one after the other and yield the rows that no unread chunk can precede.

        Raises:
            SourceError: A row has no time, or it is late and `late` is "refuse".
        """
        waiting: list[_Piece] = []
        reached_ms = _BOUNDS_MS.min
        for opened, (index, chunk) in enumerate(self._unopened, start=1):
            waiting.append(self._open(index, chunk, reached_ms))
            waiting.sort(key=lambda piece: piece.index)
            buffered = sum(len(piece.time_ms) for piece in waiting)
            self.max_buffered_rows = max(self.max_buffered_rows, buffered)

            last = opened == len(self._unopened)
            before_ms = _BOUNDS_MS.max if last else self._unopened[opened][1].first_ms
            if not last and self._reorder_rows is not None and buffered > self._reorder_rows:
                self.overflowed = True
                before_ms = max(before_ms, _end_of_oldest(waiting, buffered - self._reorder_rows))
            ready = _with_rows(piece.before(before_ms) for piece in waiting)
            waiting = _with_rows(piece.since(before_ms) for piece in waiting)
            reached_ms = max((int(piece.time_ms[-1]) for piece in ready), default=reached_ms)
            # Cut last: rows outside the bounds decide which others are late, so no bound changes a row
            inside = _with_rows(piece.since(self._since_ms).before(self._until_ms) for piece in ready)
            if inside:
                yield _interleave(inside)
        if self.late_rows:
            logger.warning(
                "dropped %d rows that came late by more than the %s rows that may wait",
                self.late_rows,
                self._reorder_rows,
            )

    def _open(self, index: int, chunk: Chunk, reached_ms: int) -> "_Piece":
        table = chunk.read()
        nulls = table[TIME_MS].null_count
        if nulls:
            raise SourceError(f"{chunk.where}: expected '{TIME_MS}' in every row, found {nulls} rows without")
        time_ms = table[TIME_MS].to_numpy()
        if np.any(time_ms[1:] < time_ms[:-1]):
            by_time = np.argsort(time_ms, kind="stable")
            table, time_ms = table.take(by_time), time_ms[by_time]
        piece = _Piece(index, table, time_ms)
        late_rows = int(np.searchsorted(piece.time_ms, reached_ms))
        if late_rows and self._late == "refuse":
            raise SourceError(
                f"{chunk.where}: expected rows from {TIME_MS} {reached_ms} on, found {late_rows} older, "
                f"the first {piece.time_ms[0]}; sort the log, or let more than {self._reorder_rows} rows wait"
            )
        self.late_rows += late_rows
        return piece.since(reached_ms)


@dataclass(frozen=True)
class _Piece:
    """Rows of one chunk, in temporal order."""

    index: int
    table: pa.Table
    time_ms: NDArray[np.int64]

    def before(self, time_ms: int) -> "_Piece":
        cut = int(np.searchsorted(self.time_ms, time_ms))
        return _Piece(self.index, self.table.slice(0, cut), self.time_ms[:cut])

    def since(self, time_ms: int) -> "_Piece":
        cut = int(np.searchsorted(self.time_ms, time_ms))
        return _Piece(self.index, self.table.slice(cut), self.time_ms[cut:])


def _with_rows(pieces: Iterable[_Piece]) -> list[_Piece]:
    return [piece for piece in pieces if len(piece.time_ms)]


def _end_of_oldest(pieces: list[_Piece], rows: int) -> int:
    """Return the time after that of the `rows`-th oldest row."""
    time_ms = np.concatenate([piece.time_ms for piece in pieces])
    return int(np.partition(time_ms, rows - 1)[rows - 1]) + 1


def _interleave(pieces: list[_Piece]) -> pa.Table:
    if len(pieces) == 1:
        return pieces[0].table
    by_time = np.argsort(np.concatenate([piece.time_ms for piece in pieces]), kind="stable")
    return pa.concat_tables([piece.table for piece in pieces]).combine_chunks().take(by_time)


def rebatch(tables: Iterable[pa.Table], rows: int, *, skip_rows: int = 0) -> Iterator[pa.RecordBatch]:
    """Split a stream of tables into batches of one size.

    Args:
        tables: Tables of one schema and any size.
        rows: Rows of every batch but the last.
        skip_rows: Rows to skip at the start.
    """
    pending: list[pa.Table] = []
    pending_rows = 0
    for table in tables:
        skipped = min(skip_rows, table.num_rows)
        skip_rows -= skipped
        pending.append(table.slice(skipped))
        pending_rows += table.num_rows - skipped
        if pending_rows >= rows:
            whole = pa.concat_tables(pending)
            full_rows = pending_rows - pending_rows % rows
            for start in range(0, full_rows, rows):
                yield _as_batch(whole.slice(start, rows))
            pending, pending_rows = [whole.slice(full_rows)], pending_rows - full_rows
    if pending_rows:
        yield _as_batch(pa.concat_tables(pending))


def _as_batch(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]
