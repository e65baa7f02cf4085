"""Rows of joined impressions, cut into batches by their number and their times alone.

So the batches are the same whenever the rows have come, and however many at once. All rows of an impression
have one time, and no impression is of an earlier time than the one before it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from ranker.stream.joined import START, Joined, JoinOffset

CONVERTED_ROWS: Final = 4_096
"""Rows of impressions that are turned into columns at once, though no batch is full."""


@dataclass(frozen=True)
class Cut:
    """A batch.

    Attributes:
        records: Its rows.
        offset: Where the log goes on after them.
        reached_ms: No later row is of an earlier time.
    """

    records: pa.RecordBatch
    offset: JoinOffset
    reached_ms: int


@dataclass
class _Open:
    """The batch that is not full yet.

    Attributes:
        rows: How many it has.
        pieces: The rows, but for those of the impressions that are just being cut.
        time_ms: Of its last row.
        offset: After its last row.
    """

    rows: int = 0
    pieces: list[pa.RecordBatch] = field(default_factory=list)
    time_ms: int = 0
    offset: JoinOffset = START

    def keep(self, piece: pa.RecordBatch) -> None:
        """Keep rows that are columns; small pieces become larger ones, so that there are few."""
        self.pieces.append(piece)
        while len(self.pieces) > 1 and self.pieces[-2].num_rows < 2 * self.pieces[-1].num_rows:
            self.pieces[-2:] = [pa.concat_batches(self.pieces[-2:])]


class JoinedRows:
    """Collects joined impressions, and gives their rows in batches.

    Args:
        rows: Rows of a batch.
        flush_ms: Rows of different stretches of so many milliseconds are in different batches.
        whole_times: Whether rows of one time stay together, so that a batch may be longer.
        skip_rows: Rows of the first impression that were taken before.
    """

    def __init__(self, rows: int, flush_ms: int, *, whole_times: bool = False, skip_rows: int = 0) -> None:
        self._rows = rows
        self._flush_ms = flush_ms
        self._whole_times = whole_times
        self._skip_rows = skip_rows
        self._fresh: list[Joined] = []
        self._fresh_rows = 0
        self._open = _Open()

    def __bool__(self) -> bool:
        """Whether rows wait to be given."""
        return bool(self._fresh or self._open.rows)

    def add(self, joined: Sequence[Joined]) -> None:
        """Take impressions, the next ones in the order in which they left."""
        self._fresh += joined
        self._fresh_rows += sum(map(_count, joined))

    def is_due(self, complete_ms: int) -> bool:
        """Whether it is time for `cut`: a batch may be complete, or many rows are not columns yet.

        Args:
            complete_ms: No further impression is of an earlier time.
        """
        if self._fresh_rows >= CONVERTED_ROWS or self._open.rows + self._fresh_rows >= self._rows:
            return True
        times = [joined.time_ms for joined in (*self._fresh[:1], *self._fresh[-1:])]
        if self._open.rows:
            times.insert(0, self._open.time_ms)
        return bool(times) and self._end_ms(times[0]) <= max(times[-1], complete_ms)

    def cut(self, read: Callable[[Sequence[Joined]], pa.RecordBatch], complete_ms: int) -> Iterator[Cut]:
        """Give the batches that are full, or that no further row can be in.

        Args:
            read: Turns impressions into rows.
            complete_ms: No further impression is of an earlier time.
        """
        if self._fresh:
            records = read(self._fresh)
            fresh, self._fresh, self._fresh_rows = self._fresh, [], 0
            yield from self._cut(records, fresh)
        if self._open.rows and self._ends_before(complete_ms):
            yield self._closed()

    def _cut(self, records: pa.RecordBatch, joined: Sequence[Joined]) -> Iterator[Cut]:
        begin = end = self._skip_rows  # the rows from `begin` to `end` belong to the open batch
        for one in joined:
            taken, count = self._skip_rows, _count(one)
            self._skip_rows = 0
            while taken < count:
                if self._open.rows and self._ends_before(one.time_ms):
                    yield self._closed(records.slice(begin, end - begin))
                    begin = end
                room = self._rows - self._open.rows
                more = count - taken if self._whole_times else min(count - taken, room)
                taken, end = taken + more, end + more
                self._open.rows += more
                self._open.time_ms, self._open.offset = one.time_ms, one.offset(taken)
                if more == room and not self._whole_times:
                    yield self._closed(records.slice(begin, end - begin))
                    begin = end
        if end > begin:
            self._open.keep(records.slice(begin, end - begin))

    def _closed(self, *last: pa.RecordBatch) -> Cut:
        closed, self._open = self._open, _Open()
        full = closed.rows >= self._rows
        return Cut(
            pa.concat_batches([*closed.pieces, *last]),
            closed.offset,
            closed.time_ms if full else self._end_ms(closed.time_ms),
        )

    def _ends_before(self, time_ms: int) -> bool:
        """Whether no row of a time can be in the open batch."""
        full = self._open.rows >= self._rows and time_ms > self._open.time_ms
        return full or self._end_ms(self._open.time_ms) <= time_ms

    def _end_ms(self, time_ms: int) -> int:
        """The end of the stretch that a time is in."""
        return (time_ms // self._flush_ms + 1) * self._flush_ms


def _count(joined: Joined) -> int:
    """Rows of an impression: videos that were seen."""
    return int(np.count_nonzero(joined.positions))
