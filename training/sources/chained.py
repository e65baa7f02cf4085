"""A log at rest, and after its end the log of events."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from ranker.errors import SourceError
from ranker.events import TIME_MS
from ranker.stream.event_log import EntryId
from training.sources.base import Offset, SideTable, Source, SourceBatch
from training.sources.live import LiveSource
from training.sources.offsets import parse_offset


class _Saved(BaseModel):
    """How far both logs were read.

    Attributes:
        since_ms: The first time that was included.
        at_rest: Offset in the log at rest; None before its first row, and after its end.
        newest_ms: Time of the newest row that was read there; None before the first.
        live: Offset in the log of events; None before its first row.
        live_since_ms: The first time that is included there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    since_ms: int | None
    at_rest: Offset | None = None
    newest_ms: int | None = None
    live: Offset | None = None
    live_since_ms: int | None = None


class ChainedSource(Source):
    """The rows of a log at rest, then those of the log of events, each once.

    Args:
        at_rest: The log at rest.
        live: The log of events.
        begin: Where the log of events goes on after an archive of itself; None for a log of other origin.
            Then its rows are those that are later than the newest of the log at rest.

    Attributes:
        between: Called when the log at rest has ended, before the log of events is read.
    """

    def __init__(self, at_rest: Source, live: LiveSource, *, begin: Offset | None = None) -> None:
        self.name = f"{at_rest.name}, then the {live.name}"
        self._at_rest = at_rest
        self._live = live
        self._begin = begin
        self.between: Callable[[], None] = lambda: None

    @property
    def continues(self) -> str:
        """The log at rest: who has learned it goes on with the log of events."""
        return self._at_rest.name

    def offset_of_earlier(
        self, offset: Offset | None, since_ms: int | None, newest_ms: int | None
    ) -> Offset | None:
        """See `Source.offset_of_earlier`."""
        return _Saved(since_ms=since_ms, at_rest=offset, newest_ms=newest_ms).model_dump()

    @property
    def schema(self) -> pa.Schema:
        """That of the log at rest; that of the log of events has other columns beside the spec's."""
        return self._at_rest.schema

    @property
    def side_tables(self) -> tuple[SideTable, ...]:
        """Those of the log at rest."""
        return self._at_rest.side_tables

    def reached_ms(self, offset: Offset | None) -> int | None:
        """The event time up to which the log of events was read; None as long as the other one is."""
        saved = self._saved(offset)
        return None if saved is None else self._live.reached_ms(saved.live)

    def needed(self, offset: Offset | None) -> EntryId:
        """The first entry of the log of events that is needed to go on; see `LiveSource.needed`."""
        saved = self._saved(offset)
        return self._live.needed(self._begin if saved is None or saved.live is None else saved.live)

    def batches(
        self,
        rows: int,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        resume_from: Offset | None = None,
    ) -> Iterator[SourceBatch]:
        """Yield the rows of the one log and then those of the other; see `Source.batches`."""
        saved = self._saved(resume_from) or _Saved(since_ms=since_ms)
        if saved.since_ms != since_ms:
            raise SourceError(
                f"{self.name}: expected to go on reading from time_ms {saved.since_ms} on, found {since_ms}"
            )
        live, live_since_ms = saved.live, saved.live_since_ms
        if live is None:
            newest_ms = saved.newest_ms
            for batch in self._at_rest.batches(
                rows, since_ms=since_ms, until_ms=until_ms, resume_from=saved.at_rest
            ):
                newest_ms = batch.records.column(TIME_MS)[-1].as_py()
                read = _Saved(since_ms=since_ms, at_rest=batch.offset, newest_ms=newest_ms)
                yield replace(batch, offset=read.model_dump())
            self.between()
            live = self._begin
            if live is None:
                live_since_ms = since_ms if newest_ms is None else newest_ms + 1
        for batch in self._live.batches(rows, since_ms=live_since_ms, until_ms=until_ms, resume_from=live):
            read = _Saved(since_ms=since_ms, live=batch.offset, live_since_ms=live_since_ms)
            yield replace(batch, offset=read.model_dump())

    def users(self) -> Iterator[pa.RecordBatch]:
        """Those of the log at rest."""
        return self._at_rest.users()

    def videos(self) -> Iterator[pa.RecordBatch]:
        """Those of the log at rest."""
        return self._at_rest.videos()

    def _saved(self, offset: Offset | None) -> _Saved | None:
        return None if offset is None else parse_offset(offset, _Saved, where=self.name)
