"""Stored features of users and videos: one JSON object of columns an entity, absent columns left out."""

import json
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import redis

from ranker.errors import FeatureError, SourceError
from ranker.records import USER_ID, VIDEO_ID
from ranker.store.keys import user_key, video_key

ROWS_PER_COMMAND = 5_000
"""Entities that one command carries: a few hundred kilobytes at a time."""


class FeatureWriter:
    """Fills the store with what is known of users and videos.

    Args:
        client: A connected client.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def write_users(self, batch: pa.RecordBatch, columns: Sequence[str]) -> int:
        """Write users, each in place of what was stored of it.

        Args:
            batch: `user_id` and the columns; nulls and NaN are left out.
            columns: The columns to store, such as `spec.user_columns`.

        Returns:
            How many users were written.

        Raises:
            SourceError: A column is not there.
            FeatureError: A column holds what no feature can be, or a user has no id.
        """
        return self._write([user_key(i) for i in _ids(batch, USER_ID)], batch, columns)

    def write_videos(self, batch: pa.RecordBatch, columns: Sequence[str]) -> int:
        """Write videos, each in place of what was stored of it.

        Args:
            batch: `video_id` and the columns; nulls and NaN are left out.
            columns: The columns to store, such as `spec.video_columns`.

        Returns:
            How many videos were written.

        Raises:
            SourceError: A column is not there.
            FeatureError: A column holds what no feature can be, or a video has no id.
        """
        return self._write([video_key(i) for i in _ids(batch, VIDEO_ID)], batch, columns)

    def _write(self, keys: list[str], batch: pa.RecordBatch, columns: Sequence[str]) -> int:
        values = list(_documents(batch, columns))
        for start in range(0, len(keys), ROWS_PER_COMMAND):
            part = slice(start, start + ROWS_PER_COMMAND)
            self._client.mset(dict(zip(keys[part], values[part], strict=True)))
        return len(keys)


def _ids(batch: pa.RecordBatch, name: str) -> list[str]:
    column = _column(batch, name)
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise FeatureError(f"{name}: expected an id in row {row}, found null", feature=name, row=row)
    try:
        if pa.types.is_floating(column.type):
            column = column.cast(pa.int64())  # 712.0 is the id 712
        ids: list[str] = column.cast(pa.string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise FeatureError(f"{name}: expected ids, found {error}", feature=name) from error
    return ids


def _documents(batch: pa.RecordBatch, columns: Sequence[str]) -> Iterable[bytes]:
    """Each row as a JSON object, column after column: a row at a time would look every name up again."""
    rows: list[list[str]] = [[] for _ in range(batch.num_rows)]
    for name in columns:
        column = _finite(_column(batch, name))
        label = f"{json.dumps(name)}:"
        try:
            for row, value in zip(rows, column.to_pylist(), strict=True):
                if value is not None:
                    row.append(label + json.dumps(value))
        except TypeError as error:
            raise FeatureError(
                f"{name}: expected text, numbers, true/false or lists of ids, found {column.type}",
                feature=name,
            ) from error
    return (f"{{{','.join(row)}}}".encode() for row in rows)


def _finite(column: pa.Array) -> pa.Array:
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_finite(column), column, None)


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name not in batch.schema.names:
        raise SourceError(
            f"features: expected a column '{name}', found {', '.join(batch.schema.names) or 'no columns'}"
        )
    return batch.column(name)
