"""The contract of a source: record batches in event-time order, in memory bounded by a batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import pyarrow as pa

from ranker.errors import SourceError
from ranker.event_times import TimeRange
from training.sources.lateness import Lateness

Offset = dict[str, Any]
"""The point at which reading a log goes on, as a JSON object that only its source can interpret."""


@dataclass(frozen=True)
class SideTable:
    """A table without times that a source joins with its log: each row has the values of the day it was made.

    Attributes:
        where: The table's file.
        columns: Columns of the source's schema that may have had other values before.
        as_of_ms: When the table was made, Unix epoch in milliseconds; if that is unknown, when its file was.
    """

    where: str
    columns: tuple[str, ...]
    as_of_ms: int


@dataclass(frozen=True)
class SourceBatch:
    """Examples, and the offset after them.

    Attributes:
        records: Rows with the columns of the source's schema; none only from a source that never ends.
        offset: Where reading goes on after these rows. It also describes what was read, so that resuming can
            check that the log still begins with it.
        arrived: Whether all labels of these rows and of earlier ones are known by now, whatever their waits.
    """

    records: pa.RecordBatch
    offset: Offset
    arrived: bool = False


class Source(ABC):
    """A log of examples.

    The same source with the same arguments always yields the same rows in the same batches.
    """

    name: str
    """The source's name in messages, such as `kuairand DIR`."""
    preset: ClassVar[str | None] = None
    """Name of the preset spec for this kind of source; None if there is none."""

    @property
    def continues(self) -> str | None:
        """Name of the source whose rows this one begins with; None unless it goes on where another ends."""
        return None

    def offset_of_earlier(
        self, offset: Offset | None, since_ms: int | None, newest_ms: int | None
    ) -> Offset | None:
        """The offset of this source after what was read of the one that it continues.

        Args:
            offset: Of that one.
            since_ms: The first time that was included.
            newest_ms: Time of the newest row that was read; None before the first.
        """
        raise NotImplementedError(self.name)

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """Schema of the batches: the columns of `ranker/events.py`, feature columns and label columns."""

    @property
    def side_tables(self) -> tuple[SideTable, ...]:
        """The tables that are joined with the log; none unless a kind of source says so."""
        return ()

    @abstractmethod
    def batches(
        self,
        rows: int,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        resume_from: Offset | None = None,
    ) -> Iterator[SourceBatch]:
        """Yield the examples with since_ms <= time_ms < until_ms, oldest first, with offsets.

        Args:
            rows: Rows of every batch but the last.
            since_ms: First time that is included, Unix epoch in milliseconds; None for no bound.
            until_ms: First time that is excluded; None for no bound.
            resume_from: The offset of a batch that was read with the same `since_ms`; the rows after that
                batch are yielded. None to begin at the first row.

        Raises:
            SourceError: The log is unreadable, or it no longer begins with what the offset describes; the
                message names the file and the difference.
        """

    def records(
        self, rows: int, *, since_ms: int | None = None, until_ms: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the batches of `batches` without offsets, for readers that never resume."""
        for batch in self.batches(rows, since_ms=since_ms, until_ms=until_ms):
            yield batch.records

    def with_lateness(self, lateness: Lateness) -> "Source":
        """The same log, with something done about rows that come late between two runs.

        Raises:
            SourceError: A log of this kind may not change between two runs, so that no row comes late.
        """
        if lateness != Lateness():
            raise SourceError(
                f"{self.name}: expected a log of Parquet files for --late and --late-by, as no other log may "
                "grow between two runs"
            )
        return self

    def time_range(self) -> tuple[int, int] | None:
        """The first and the last event time, Unix epoch in milliseconds; None while they are not known.

        They are for showing progress, and may be off by little.
        """
        return None

    @abstractmethod
    def users(self) -> Iterator[pa.RecordBatch]:
        """Yield `user_id` and the user columns: one row per user, as at the end of the log."""

    @abstractmethod
    def videos(self) -> Iterator[pa.RecordBatch]:
        """Yield `video_id` and the candidate columns: one row per video, as at the end of the log."""


class SourceKind(Source):
    """A source that the command line opens by `--source KIND`, or because it recognises `--data`."""

    kind: ClassVar[str]
    """The value of `--source`."""
    layout: ClassVar[str | None]
    """The files that it reads, for messages; None if it makes its own log and takes no `--data`."""

    @classmethod
    @abstractmethod
    def recognises(cls, data: str | None) -> bool:
        """Whether `--data` (None if it was left out) names a log of this kind."""

    @classmethod
    @abstractmethod
    def open(cls, data: str | None, times: TimeRange) -> Self:
        """Open the log that `--data` names.

        Args:
            data: The value of `--data`; None for a kind without a `layout`.
            times: The plausible times. A row outside is refused, here or, where its time is not known
                before it is read, by `batches`.

        Raises:
            SourceError: The log cannot be opened, or a time in it is not plausible.
        """
