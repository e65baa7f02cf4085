"""What is stored of a request's user, query video and candidates, in one round trip to Redis."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
import redis
import redis.asyncio

from ranker.errors import StoreError
from ranker.features.values import FeatureValue
from ranker.store.keys import user_key, video_key

Record = dict[str, FeatureValue]


@dataclass(frozen=True)
class Stored:
    """Stored columns; None where nothing is stored.

    Attributes:
        user: The user's.
        query_video: The query video's.
        candidates: Each candidate's, in the request's order.
    """

    user: Record | None
    query_video: Record | None
    candidates: Sequence[Record | None]


class FeatureStore:
    """Reads what `watchnext features load` wrote.

    Args:
        client: A client of the service's event loop; the store closes it.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def fetch(self, user_id: str, query_video_id: str | None, video_ids: Sequence[str]) -> Stored:
        """Read everything that is stored for one request.

        Raises:
            StoreError: Redis does not answer in time, or holds something else under a key.
        """
        keys = [user_key(user_id), video_key(query_video_id or ""), *map(video_key, video_ids)]
        try:
            values = await self._client.mget(keys)
        except (redis.RedisError, OSError) as error:
            raise StoreError(f"expected the request's features from Redis, found {error!r}") from error
        user, query_video, *candidates = map(_record, keys, values)
        return Stored(user, query_video, candidates)

    async def ping(self) -> None:
        """See that Redis answers.

        Raises:
            StoreError: It does not.
        """
        try:
            await self._client.ping()
        except (redis.RedisError, OSError) as error:
            raise StoreError(f"expected Redis to answer, found {error!r}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _record(key: str, value: bytes | str | None) -> Record | None:
    if value is None:
        return None
    try:
        record = orjson.loads(value)
    except orjson.JSONDecodeError:
        record = None
    if not isinstance(record, dict):
        raise StoreError(f"{key}: expected an object of columns in JSON, found {value!r:.80}")
    return record
