"""Loads the users and videos of a source into the feature store."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import redis
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ranker.errors import FeatureError, SourceError, StoreError
from ranker.events import USER_ID, VIDEO_ID
from ranker.features.entity_ids import id_texts
from ranker.features.record import RecordLayout
from ranker.features.stored import user_records, video_records
from ranker.spec import RankerSpec
from ranker.store.keys import load_key
from ranker.store.records import RecordWriter
from training.sources.base import Source

CHUNK_ROWS: Final = 20_000
"""Rows that are converted and written between two updates of the progress."""
PROGRESS_KEPT_S: Final = 86_400
"""Time for which an interrupted load can be resumed."""

Write = Callable[[Sequence[str], NDArray[np.uint64]], None]


@dataclass(frozen=True)
class Loaded:
    """The result of a load.

    Attributes:
        users: Number of users.
        videos: Number of videos.
        resumed_at: How many of both an earlier, interrupted call had written.
    """

    users: int
    videos: int
    resumed_at: int


def load_features(
    client: redis.Redis, spec: RankerSpec, source: Source, console: Console, *, restart: bool = False
) -> Loaded:
    """Write every user and video of a source to the store, over their earlier records.

    A call resumes an earlier one of the same source and layouts that was interrupted.

    Args:
        client: A client of the store.
        spec: The spec with the columns to store.
        source: The source of the users and videos.
        console: Shows the progress.
        restart: Begin at the first row even if an earlier call was interrupted.

    Raises:
        SourceError: The source lacks a column.
        FeatureError: A value has the wrong type or range, or a user or video has no id.
        StoreError: Redis does not answer.
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
    stored: dict[Any, Any] = client.hgetall(key)
    done = {what.decode(): int(count) for what, count in stored.items()}
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def write(
            what: str, batches: Iterable[pa.RecordBatch], id_column: str, layout: RecordLayout, put: Write
        ) -> int:
            task = progress.add_task(what, total=None)
            seen, skip = 0, done.get(what, 0)
            for batch in _chunks(batches):
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


def _chunks(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    """Split batches into chunks of at most CHUNK_ROWS rows, the same ones in every call."""
    for batch in batches:
        for start in range(0, batch.num_rows, CHUNK_ROWS):
            yield batch.slice(start, CHUNK_ROWS)


@contextmanager
def _rows_from(first: int, what: str) -> Iterator[None]:
    """Make the row in a `FeatureError` count from the source's first row, and not from the chunk's."""
    try:
        yield
    except FeatureError as error:
        if error.row is None:
            raise
        message, row = str(error).removesuffix(f" in row {error.row}"), first + error.row
        raise FeatureError(f"{message} in row {row} of the {what}", feature=error.feature, row=row) from error


def _ids(batch: pa.RecordBatch, name: str) -> list[str]:
    _check_column(batch, name)
    return id_texts(batch.column(name), name)


def _checked(batch: pa.RecordBatch, layout: RecordLayout) -> pa.RecordBatch:
    for name in layout.columns:
        _check_column(batch, name)
    return batch


def _check_column(batch: pa.RecordBatch, name: str) -> None:
    if name not in batch.schema.names:
        raise SourceError(
            f"features: expected a column '{name}', found {', '.join(batch.schema.names) or 'no columns'}"
        )
