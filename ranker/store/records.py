"""Stored records of viewers and videos, and the stream that announces changes of videos.

Shape letters: R records, W words of a record.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import redis
import redis.asyncio
from numpy.typing import NDArray

from ranker.errors import StoreError
from ranker.store.keys import changes_key, users_key, videos_key

Records = NDArray[np.uint64]
CHANGES_KEPT_MS: Final = 600_000
"""Age at which announcements are dropped; a service that missed more reads the whole catalogue again."""
RECORDS_PER_COMMAND: Final = 2_000
"""Records of one command: a few hundred kilobytes."""
IDS_FIELD: Final = "ids"


class RecordWriter:
    """Writes the records of viewers and videos.

    Args:
        client: A connected client.
        users: Digest of the viewers' layout.
        videos: Digest of the videos' layout.
    """

    def __init__(self, client: redis.Redis, *, users: str, videos: str) -> None:
        self._client = client
        self._users = users
        self._videos = videos

    def write_users(self, ids: Sequence[str], records: Records) -> None:
        """Write the records of R viewers, (R, W) uint64, over the stored ones."""
        for part in _parts(len(ids)):
            self._client.hset(users_key(self._users), mapping=_mapping(ids[part], records[part]))

    def write_videos(self, ids: Sequence[str], records: Records) -> None:
        """Write the records of R videos, (R, W) uint64, over the stored ones, and announce them."""
        for part in _parts(len(ids)):
            now_ms = milliseconds(self._client.time())
            with self._client.pipeline(transaction=True) as pipeline:
                queue_videos(pipeline, self._videos, ids[part], records[part], now_ms=now_ms)
                pipeline.execute()


def queue_videos(
    pipeline: redis.client.Pipeline | redis.asyncio.client.Pipeline,
    layout: str,
    ids: Sequence[str],
    records: Records,
    *,
    now_ms: int,
) -> None:
    """Queue the commands that write videos, announce them, and drop old announcements.

    Args:
        pipeline: A transaction.
        layout: Digest of the videos' layout.
        ids: R videos.
        records: (R, W) uint64.
        now_ms: The Redis server's time, in milliseconds; the server's clock also dates the announcements.
    """
    pipeline.hset(videos_key(layout), mapping=_mapping(ids, records))
    pipeline.xadd(changes_key(layout), {IDS_FIELD: json.dumps(ids)}, minid=now_ms - CHANGES_KEPT_MS)


def queue_deleted_video(
    pipeline: redis.client.Pipeline | redis.asyncio.client.Pipeline, layout: str, name: str, *, now_ms: int
) -> None:
    """Queue the commands that delete a video and announce it; as of `queue_videos`."""
    pipeline.hdel(videos_key(layout), name)
    pipeline.xadd(changes_key(layout), {IDS_FIELD: json.dumps([name])}, minid=now_ms - CHANGES_KEPT_MS)


def milliseconds(time: tuple[int, int]) -> int:
    """Convert the answer of the command TIME, seconds and microseconds, to milliseconds."""
    return time[0] * 1000 + time[1] // 1000


def to_bytes(records: Records) -> list[bytes]:
    """Convert records, (R, W) uint64, to the stored form: their words, little-endian."""
    width = records.shape[1] * 8
    content = records.astype("<u8", copy=False).tobytes()
    return [content[start : start + width] for start in range(0, len(content), width)]


def from_bytes(values: Sequence[bytes], words: int) -> Records:
    """Convert stored records to arrays.

    Args:
        values: R stored records.
        words: W.

    Returns:
        (R, W) uint64.

    Raises:
        StoreError: A record has another length than W words.
    """
    wrong = next((value for value in values if len(value) != words * 8), None)
    if wrong is not None:
        raise StoreError(f"expected stored records of {words * 8} bytes, found one of {len(wrong)}")
    return np.frombuffer(b"".join(values), "<u8").astype(np.uint64, copy=False).reshape(-1, words)


def _mapping(ids: Sequence[str], records: Records) -> dict[Any, Any]:
    return dict(zip(ids, to_bytes(records), strict=True))


def _parts(count: int) -> list[slice]:
    return [slice(start, start + RECORDS_PER_COMMAND) for start in range(0, count, RECORDS_PER_COMMAND)]
