"""Loads the users and videos of a source into the feature store, with the texts behind their hashed words."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import redis
from numpy.typing import NDArray
from rich.console import Console

from ranker.did_you_mean import did_you_mean
from ranker.errors import SourceError, StoreError
from ranker.events import USER_ID, VIDEO_ID
from ranker.features.entity_ids import id_texts
from ranker.features.record import RecordLayout
from ranker.features.stored import user_records, video_records
from ranker.spec import RankerSpec
from ranker.store.eviction import dropped, warn_of_eviction
from ranker.store.keys import load_key, users_key, videos_key
from ranker.store.records import RecordWriter
from ranker.stream.texts import IDS, WORDS_PER_COMMAND, KnownTexts, queue_texts
from training.located import located
from training.progress import Progress
from training.sources.base import Source

CHUNK_ROWS: Final = 20_000
"""Rows that are converted and written at once."""
PROGRESS_KEPT_S: Final = 86_400
"""Time for which an interrupted load can be resumed."""

REMEDY: Final = "; put it into the log, or into users.parquet or videos.parquet in the log's folder"
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
    """Write every user and video of a source to the store, over their earlier records, and count them there.

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
        StoreError: Redis does not answer, or has dropped some of what it took.
    """
    warn_of_eviction(client)
    try:
        return _load(client, spec, source, console, restart)
    except redis.OutOfMemoryError as error:
        raise StoreError(
            f"expected Redis to have memory for the records, found {error}; "
            "give it more (maxmemory), and the same command goes on from there"
        ) from error
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
    texts = _TextWriter(client, spec.hash_seed)
    stored: dict[Any, Any] = client.hgetall(key)
    done = {what.decode(): int(count) for what, count in stored.items()}
    written: dict[str, int] = {}

    def write(
        what: str, batches: Iterable[pa.RecordBatch], id_column: str, layout: RecordLayout, put: Write
    ) -> int:
        seen, skip, where = 0, done.get(what, 0), f"{source.name}, {what}"
        distinct = _DistinctIds()
        with Progress(console, what) as progress, located(source.name, lambda: seen, what):
            for batch in _chunks(batches):
                ids = _ids(batch, id_column, where)
                records = layout.of_batch(_checked(batch, layout, where)) if seen >= skip else None
                distinct.add(ids)
                if records is not None:
                    texts.write(layout, batch)
                    put(ids, records)
                    client.hset(key, what, str(seen + batch.num_rows))
                    client.expire(key, PROGRESS_KEPT_S)
                seen += batch.num_rows
                progress.update(seen)
        written[what] = len(distinct)
        return seen

    loaded = Loaded(
        write("users", source.users(), USER_ID, users, writer.write_users),
        write("videos", source.videos(), VIDEO_ID, videos, writer.write_videos),
        resumed_at=sum(done.values()),
    )
    client.delete(key)
    for what, hash_key in (("users", users_key(users.digest)), ("videos", videos_key(videos.digest))):
        found = int(client.hlen(hash_key))
        if found < written[what]:
            raise dropped(what, hash_key, expected=written[what], found=found, client=client)
    return loaded


def _chunks(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    """Split batches into chunks of at most CHUNK_ROWS rows, the same ones in every call."""
    for batch in batches:
        for start in range(0, batch.num_rows, CHUNK_ROWS):
            yield batch.slice(start, CHUNK_ROWS)


class _TextWriter:
    """Writes the texts behind hashed words of rows, each once."""

    def __init__(self, client: redis.Redis, seed: int) -> None:
        self._client = client
        self._seed = seed
        self._known = KnownTexts()

    def write(self, layout: RecordLayout, batch: pa.RecordBatch) -> None:
        """Write those of some rows, but for the ids that impressions name."""
        texts = self._known.unknown(layout.texts_of_batch(batch, without=IDS))
        items = list(texts.items())
        with self._client.pipeline(transaction=False) as pipeline:
            for start in range(0, len(items), WORDS_PER_COMMAND):
                queue_texts(pipeline, self._seed, dict(items[start : start + WORDS_PER_COMMAND]))
                pipeline.execute()
        self._known.written(texts)


class _DistinctIds:
    """Counts different ids by hashes of 8 bytes, each of which two ids hardly ever share."""

    def __init__(self) -> None:
        self._hashes: list[NDArray[np.int64]] = []

    def add(self, ids: Sequence[str]) -> None:
        """Take in some ids."""
        self._hashes.append(np.fromiter(map(hash, ids), np.int64, len(ids)))

    def __len__(self) -> int:
        """How many different ones there were."""
        return len(np.unique(np.concatenate(self._hashes))) if self._hashes else 0


def _ids(batch: pa.RecordBatch, name: str, where: str) -> list[str]:
    _check_column(batch, name, where)
    return id_texts(batch.column(name), name)


def _checked(batch: pa.RecordBatch, layout: RecordLayout, where: str) -> pa.RecordBatch:
    for name in layout.columns:
        _check_column(batch, name, where)
    return batch


def _check_column(batch: pa.RecordBatch, name: str, where: str) -> None:
    if name not in batch.schema.names:
        names = batch.schema.names
        raise SourceError(
            f"{where}: expected a column '{name}', found {', '.join(names) or 'no columns'}"
            f"{did_you_mean(name, names) or REMEDY}"
        )
