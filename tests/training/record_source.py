"""A source of records in memory."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from ranker.events import TIME_MS, USER_ID, VIDEO_ID
from training.sources.base import Offset, Source, SourceBatch
from training.sources.merge import rebatch
from training.sources.offsets import counted, rows_to_skip


class RecordSource(Source):
    """Records that are in event-time order already.

    Args:
        records: What to yield.
        name: As which.
    """

    def __init__(self, records: pa.RecordBatch, name: str = "records") -> None:
        self.name = name
        self._records = records

    @property
    def schema(self) -> pa.Schema:
        return self._records.schema

    def batches(
        self,
        rows: int,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        resume_from: Offset | None = None,
    ) -> Iterator[SourceBatch]:
        table, marks = pa.Table.from_batches([self._records]), {self.name: self._records.num_rows}
        if since_ms is not None:
            table = table.filter(pc.field(TIME_MS) >= since_ms)
        if until_ms is not None:
            table = table.filter(pc.field(TIME_MS) < until_ms)
        skipped = rows_to_skip(resume_from, marks, since_ms=since_ms, where=self.name)
        yield from counted(
            rebatch([table], rows, skip_rows=skipped), marks, since_ms=since_ms, skipped=skipped
        )

    def users(self) -> Iterator[pa.RecordBatch]:
        yield self._records.select([USER_ID]).slice(0, 1)

    def videos(self) -> Iterator[pa.RecordBatch]:
        yield self._records.select([VIDEO_ID]).slice(0, 1)
