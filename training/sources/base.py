"""The contract of a source: record batches in event-time order, in memory bounded by a batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import pyarrow as pa


class Source(ABC):
    """A log of examples.

    The same source with the same arguments always yields the same rows in the same order, so a position in
    it is the number of rows that were taken; resuming skips that many.
    """

    name: str
    """What messages call it, such as `kuairand DIR`."""

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """Schema of the batches: the columns of `ranker/events.py`, feature columns and label columns."""

    @abstractmethod
    def batches(
        self, rows: int, *, since_ms: int | None = None, until_ms: int | None = None, skip_rows: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Yield the examples with since_ms <= time_ms < until_ms, oldest first.

        Args:
            rows: Rows of every batch but the last, whatever `skip_rows` is.
            since_ms: First time that is included, Unix epoch in milliseconds; None for no bound.
            until_ms: First time that is excluded; None for no bound.
            skip_rows: Rows to leave out at the start, after the bounds were applied: a position to resume at.

        Raises:
            SourceError: The log is unreadable; the message names the file and the place.
        """

    @abstractmethod
    def users(self) -> Iterator[pa.RecordBatch]:
        """Yield `user_id` and the user columns, each user once, as known at the end of the log."""

    @abstractmethod
    def videos(self) -> Iterator[pa.RecordBatch]:
        """Yield `video_id` and the candidate columns, each video once, as known at the end of the log."""
