"""A log in memory, and the days of it that are predicted after training on all earlier rows.

Shape letters: N rows, T tasks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranker.events import TIME_MS, USER_ID
from ranker.labels.matrix import label_matrix
from ranker.spec import RankerSpec
from training.sources.base import Source

BEIJING: Final = timezone(timedelta(hours=8))
READ_ROWS: Final = 16_384


@dataclass(frozen=True)
class Day:
    """A day from midnight to midnight in Beijing, where the viewers are."""

    date: date

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a day such as 2022-05-04."""
        return cls(date.fromisoformat(text))

    @property
    def since_ms(self) -> int:
        """The day's first millisecond."""
        midnight = datetime(self.date.year, self.date.month, self.date.day, tzinfo=BEIJING)
        return int(midnight.timestamp() * 1000)

    @property
    def until_ms(self) -> int:
        """The first millisecond after it."""
        return self.since_ms + 86_400_000

    def __str__(self) -> str:
        return self.date.isoformat()


FIRST: Final = Day(date(2022, 4, 24))
"""First day that is read: results are of 24 April to 4 May, even if the folder has the whole log."""


class Log:
    """The rows of a source from `FIRST` on, in memory.

    Attributes:
        records: The rows in event-time order.
        times: (N,) int64, the rows' times in milliseconds.
    """

    def __init__(self, source: Source) -> None:
        batches = source.records(READ_ROWS, since_ms=FIRST.since_ms)
        (self.records,) = pa.Table.from_batches(batches, source.schema).combine_chunks().to_batches()
        self.times: NDArray[np.int64] = self.records.column(TIME_MS).to_numpy()

    def rows(self, since_ms: int | None = None, until_ms: int | None = None) -> pa.RecordBatch:
        """The rows with since_ms <= time_ms < until_ms; None for no bound."""
        first = 0 if since_ms is None else int(np.searchsorted(self.times, since_ms))
        end = len(self.times) if until_ms is None else int(np.searchsorted(self.times, until_ms))
        return self.records.slice(first, end - first)

    def batches(
        self, size: int, since_ms: int | None = None, until_ms: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of `rows` in batches of `size`."""
        rows = self.rows(since_ms, until_ms)
        for start in range(0, rows.num_rows, size):
            yield rows.slice(start, size)


@dataclass(frozen=True)
class Truth:
    """Labels, viewers and days of some days' rows.

    Attributes:
        labels: (N, T) in natural units, NaN where missing.
        viewers: (N,) ids of the viewers.
        day: (N,) index of the row's day.
    """

    labels: NDArray[np.float32]
    viewers: NDArray[np.generic]
    day: NDArray[np.int64]

    @classmethod
    def of(cls, log: Log, spec: RankerSpec, days: Sequence[Day]) -> Self:
        """Read the rows of some days from the log, day by day."""
        rows = [log.rows(day.since_ms, day.until_ms) for day in days]
        labels = np.concatenate([label_matrix(batch, spec.feedback) for batch in rows])
        viewers = np.concatenate([batch.column(USER_ID).to_numpy(zero_copy_only=False) for batch in rows])
        sizes = [batch.num_rows for batch in rows]
        return cls(labels[:, : len(spec.tasks)], viewers, np.repeat(np.arange(len(days)), sizes))
