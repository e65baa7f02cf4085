"""Which viewers and videos were deleted, and when: for all that remembers them beside the feature store.

A deletion is an id in a sorted set, with the time at which it was deleted. Whoever holds a feature state that
is older forgets the id. Entries are dropped after `DELETIONS_KEPT_MS`: by then no older state is in use.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import redis
import redis.asyncio

from ranker.errors import StoreError
from ranker.events import USER_ID, VIDEO_ID
from ranker.store.keys import deleted_users_key, deleted_videos_key

DELETIONS_KEPT_MS: Final = 90 * 86_400_000
"""Age at which deletions are dropped."""


@dataclass(frozen=True)
class Deletions:
    """Deleted ids, each with the time of its deletion, Unix epoch in milliseconds.

    Attributes:
        users: Those of viewers.
        videos: Those of videos.
        unreadable: Keys and entries that are no deletions; they are left out.
    """

    users: dict[str, int]
    videos: dict[str, int]
    unreadable: tuple[tuple[str, bytes], ...] = ()

    def after(self, time_ms: int | None) -> "Deletions":
        """Those after a time; all for None."""
        if time_ms is None:
            return self
        return Deletions(_after(self.users, time_ms), _after(self.videos, time_ms))

    def by_column(self) -> Iterator[tuple[str, str]]:
        """Each id with its column, `user_id` or `video_id`."""
        yield from ((USER_ID, name) for name in self.users)
        yield from ((VIDEO_ID, name) for name in self.videos)

    def __bool__(self) -> bool:
        return bool(self.users or self.videos)


def queue_deletion(
    pipeline: redis.client.Pipeline | redis.asyncio.client.Pipeline, key: str, name: str, *, now_ms: int
) -> None:
    """Queue the commands that note a deletion and drop old ones.

    Args:
        pipeline: A transaction.
        key: `deleted_users_key` or `deleted_videos_key`.
        name: The id.
        now_ms: The Redis server's time, in milliseconds.
    """
    pipeline.zadd(key, {name: now_ms})
    pipeline.zremrangebyscore(key, "-inf", now_ms - DELETIONS_KEPT_MS)


def read_deletions(client: redis.Redis, since_ms: int) -> Deletions:
    """The deletions from a time on.

    Args:
        client: The store.
        since_ms: Unix epoch in milliseconds.

    Raises:
        StoreError: Redis does not answer.
    """
    unreadable: list[tuple[str, bytes]] = []
    try:
        users, videos = (
            _times(key, client.zrangebyscore(key, since_ms, "+inf", withscores=True), unreadable)
            for key in (deleted_users_key(), deleted_videos_key())
        )
    except redis.RedisError as error:
        raise StoreError(f"expected Redis to say what was deleted, found {error}") from error
    return Deletions(users, videos, tuple(unreadable))


def _times(key: str, found: Iterable[Any] | Any, unreadable: list[tuple[str, bytes]]) -> dict[str, int]:
    times: dict[str, int] = {}
    for name, score in found:
        try:
            times[name.decode()] = int(score)
        except (UnicodeDecodeError, OverflowError):
            unreadable.append((key, name))
    return times


def _after(times: dict[str, int], time_ms: int) -> dict[str, int]:
    return {name: at_ms for name, at_ms in times.items() if at_ms > time_ms}
