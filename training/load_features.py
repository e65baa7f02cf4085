"""Filling the feature store from a source."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import redis
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ranker.errors import FeatureError, SourceError, StoreError
from ranker.events import USER_ID, VIDEO_ID
from ranker.features.kinds.id import IdFeature
from ranker.features.record import RecordLayout
from ranker.features.sides import Side
from ranker.features.stored import user_records, video_records
from ranker.features.values import canonical
from ranker.spec import RankerSpec
from ranker.store.keys import load_key
from ranker.store.records import RecordWriter
from training.sources.base import Source

ROWS_AT_ONCE: Final = 20_000
"""Rows that are made into records and written before the progress is noted."""
PROGRESS_KEPT_S: Final = 86_400
"""How long a loading that was interrupted can be taken up again."""

Write = Callable[[Sequence[str], NDArray[np.uint64]], None]


@dataclass(frozen=True)
class Loaded:
    """How many records there are.

    Attributes:
        users: Viewers.
        videos: Videos.
        resumed_at: How many of both had been written by an earlier call that did not end.
    """

    users: int
    videos: int
    resumed_at: int


def load_features(
    client: redis.Redis, spec: RankerSpec, source: Source, console: Console, *, restart: bool = False
) -> Loaded:
    """Write every user and video of a source to the store, in place of what is there of them.

    A call that was interrupted is taken up where it stopped.

    Args:
        client: The store.
        spec: Names the columns.
        source: Where the records are.
        console: For the progress.
        restart: Begin at the first record, whatever an earlier call did.

    Raises:
        SourceError: The source lacks a column.
        FeatureError: A column holds what no feature can be, or a user or video has no id.
        StoreError: Redis went away.
    """
    try:
        return _load(client, spec, source, console, restart)
    except redis.RedisError as error:
        raise StoreError(
            f"expected Redis to take the records, found {error}; the same command goes on from there"
        ) from error


def _load(client: redis.Redis, spec: RankerSpec, source: Source, console: Console, restart: bool) -> Loaded:
    users, videos = user_records(spec), video_records(spec)
    writer = RecordWriter(client, users=users.digest, videos=videos.digest)
    key = load_key(hashlib.sha256(f"{source.name} {users.digest} {videos.digest}".encode()).hexdigest()[:16])
    if restart:
        client.delete(key)
    noted: dict[Any, Any] = client.hgetall(key)
    done = {what.decode(): int(count) for what, count in noted.items()}
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def write(
            what: str, batches: Iterable[pa.RecordBatch], id_column: str, layout: RecordLayout, put: Write
        ) -> int:
            task = progress.add_task(what, total=None)
            seen, skip = 0, done.get(what, 0)
            for batch in _pieces(batches):
                if seen >= skip:
                    with _rows_from(seen, what):
                        ids, records = _ids(batch, id_column), layout.of_batch(_checked(batch, layout))
                    put(ids, records)
                    client.hset(key, what, str(seen + batch.num_rows))
                    client.expire(key, PROGRESS_KEPT_S)
                seen += batch.num_rows
                progress.update(task, completed=seen)
            return seen

        loaded = Loaded(
            write("users", source.users(), USER_ID, users, writer.write_users),
            write("videos", source.videos(), VIDEO_ID, videos, writer.write_videos),
            resumed_at=sum(done.values()),
        )
    client.delete(key)
    return loaded


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    """The same rows, never more than ROWS_AT_ONCE at once and always cut at the same places."""
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS_AT_ONCE):
            yield batch.slice(start, ROWS_AT_ONCE)


@contextmanager
def _rows_from(first: int, what: str) -> Iterator[None]:
    """Count the rows in messages from the source's first one on."""
    try:
        yield
    except FeatureError as error:
        if error.row is None:
            raise
        message, row = str(error).removesuffix(f" in row {error.row}"), first + error.row
        raise FeatureError(f"{message} in row {row} of the {what}", feature=error.feature, row=row) from error


def _ids(batch: pa.RecordBatch, name: str) -> list[str]:
    _check_column(batch, name)
    column = canonical(batch.column(name), IdFeature(kind="id", name=name, side=Side.USER))
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise FeatureError(f"{name}: expected an id, found null in row {row}", feature=name, row=row)
    ids: list[str] = column.to_pylist()
    return ids


def _checked(batch: pa.RecordBatch, layout: RecordLayout) -> pa.RecordBatch:
    for name in layout.columns:
        _check_column(batch, name)
    return batch


def _check_column(batch: pa.RecordBatch, name: str) -> None:
    if name not in batch.schema.names:
        raise SourceError(
            f"features: expected a column '{name}', found {', '.join(batch.schema.names) or 'no columns'}"
        )
