"""A source of records in memory."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from ranker.events import TIME_MS, USER_ID, VIDEO_ID
from training.sources.base import Source
from training.sources.merge import rebatch


class RecordSource(Source):
    """Records that are in event-time order already.

    Args:
        records: What to yield.
        name: As which.
    """

    def __init__(self, records: pa.RecordBatch, name: str = "records") -> None:
        self.name = name
        self.records = records

    @property
    def schema(self) -> pa.Schema:
        return self.records.schema

    def batches(
        self, rows: int, *, since_ms: int | None = None, until_ms: int | None = None, skip_rows: int = 0
    ) -> Iterator[pa.RecordBatch]:
        table = pa.Table.from_batches([self.records])
        if since_ms is not None:
            table = table.filter(pc.field(TIME_MS) >= since_ms)
        if until_ms is not None:
            table = table.filter(pc.field(TIME_MS) < until_ms)
        yield from rebatch([table], rows, skip_rows=skip_rows)

    def users(self) -> Iterator[pa.RecordBatch]:
        yield self.records.select([USER_ID]).slice(0, 1)

    def videos(self) -> Iterator[pa.RecordBatch]:
        yield self.records.select([VIDEO_ID]).slice(0, 1)
