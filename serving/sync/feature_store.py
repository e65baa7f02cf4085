"""The service's access to the feature store."""

import logging
import math
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Final

import redis.asyncio

from ranker.errors import StoreError
from ranker.features.record import RecordLayout, Words
from ranker.store.deletions import queue_deletion
from ranker.store.keys import deleted_users_key, deleted_videos_key, users_key, videos_key
from ranker.store.records import from_bytes, milliseconds, queue_deleted_video, queue_videos, to_bytes
from ranker.stream.texts import queue_texts
from serving.http.metrics import Metrics
from serving.sync.circuit_breaker import CircuitBreaker

logger = logging.getLogger(__name__)

KEYS_PER_STEP: Final = 10_000
"""Keys of Redis that one step looks at, in search of layouts."""
SCAN_COUNT: Final = 1_000
"""Videos that one step of a scan asks for."""
BULK_TIMEOUT_S: Final = 10.0
"""How long one step of a scan, or one read of changed videos, may take."""
NO_TEXTS: Final[Mapping[int, str]] = {}


class FeatureStore:
    """Reads and writes stored records.

    While Redis does not answer, requests do not wait for it, see `CircuitBreaker`. A stored value that cannot
    be read is left out, named in the log and counted.

    Args:
        client: A client of the service's event loop; the store closes it.
        timeout_s: How long one request may wait for Redis.
        metrics: Counts failures and the time without Redis.

    Attributes:
        breaker: For everything that uses the client.
    """

    def __init__(self, client: redis.asyncio.Redis, timeout_s: float, metrics: Metrics) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._metrics = metrics
        self.breaker = CircuitBreaker(client, timeout_s, metrics)

    async def read(
        self,
        users: RecordLayout,
        user_id: str | None,
        videos: RecordLayout,
        video_ids: Collection[str],
        *,
        within_s: float = math.inf,
    ) -> tuple[Words | None, dict[str, Words], bool]:
        """Read a viewer and some videos in one call.

        Args:
            users: Layout of the viewers' records.
            user_id: The viewer; None for one who is unknown.
            videos: Layout of the videos' records.
            video_ids: The videos.
            within_s: How long to wait. A Redis that answers later than that, but within the store's own
                timeout, is not taken for away.

        Returns:
            The viewer's record, (W,), or None if none is stored; the records, (W,) each, of those videos that
            are stored; and whether every stored record could be read.

        Raises:
            StoreError: Redis did not answer in time, or has not answered a probe since it last failed to.
        """
        user_ids = [] if user_id is None else [user_id]
        pipeline = self._client.pipeline(transaction=False)
        asked = [
            (users_key(users.digest), users, user_ids),
            (videos_key(videos.digest), videos, list(video_ids)),
        ]
        for key, _, ids in asked:
            if ids:
                pipeline.hmget(key, ids)
        asking = pipeline.execute(raise_on_error=False)
        answers = iter(await self.breaker.call_within(within_s, asking, self._timeout_s))
        (user, user_readable), (stored, videos_readable) = (
            self._decode(key, layout, ids, next(answers) if ids else []) for key, layout, ids in asked
        )
        return next(iter(user.values()), None), stored, user_readable and videos_readable

    async def read_videos(self, layout: RecordLayout, ids: Sequence[str]) -> dict[str, Words]:
        """Read the records of some videos.

        Returns:
            Records, (W,) each, of those videos that are stored.

        Raises:
            StoreError: Redis does not answer.
        """
        values = await self.breaker.call(
            self._client.hmget(videos_key(layout.digest), list(ids)), BULK_TIMEOUT_S
        )
        return self._decode(videos_key(layout.digest), layout, ids, values)[0]

    async def scan_videos(self, layout: RecordLayout) -> AsyncIterator[dict[str, Words]]:
        """Read all stored videos, a page at a time; a video that changes meanwhile may come twice.

        Yields:
            Records, (W,) each, by the videos' ids.

        Raises:
            StoreError: Redis does not answer.
        """
        key, cursor = videos_key(layout.digest), 0
        while True:
            step: Any = await self.breaker.call(
                self._client.hscan(key, cursor=cursor, count=SCAN_COUNT), BULK_TIMEOUT_S
            )
            cursor, page = step
            if page:
                named = self._with_ids(key, page)
                yield self._decode(key, layout, list(named), list(named.values()))[0]
            if cursor == 0:
                return

    async def write_user(
        self, layout: RecordLayout, user_id: str, record: Words, texts: Mapping[int, str] = NO_TEXTS
    ) -> None:
        """Store a viewer's record, (1, W), and the texts behind its words.

        Raises:
            StoreError: Redis does not answer; it is not known whether it was stored.
        """
        pipeline = self._client.pipeline(transaction=True)
        pipeline.hset(users_key(layout.digest), user_id, to_bytes(record)[0])
        if texts:
            queue_texts(pipeline, layout.seed, texts)
        await self.breaker.call(pipeline.execute(), self._timeout_s)

    async def write_video(
        self, layout: RecordLayout, video_id: str, record: Words, texts: Mapping[int, str] = NO_TEXTS
    ) -> None:
        """Store a video's record, (1, W), and the texts behind its words, and announce it to all services.

        Raises:
            StoreError: Redis does not answer; it is not known whether it was stored.
        """
        now_ms = milliseconds(await self.breaker.call(self._client.time(), self._timeout_s))
        pipeline = self._client.pipeline(transaction=True)
        queue_videos(pipeline, layout.digest, [video_id], record, now_ms=now_ms)
        if texts:
            queue_texts(pipeline, layout.seed, texts)
        await self.breaker.call(pipeline.execute(), self._timeout_s)

    async def delete_user(self, user_id: str) -> None:
        """Delete a viewer's records of every layout, and note the deletion for all that remembers the viewer.

        Raises:
            StoreError: Redis does not answer; it is not known whether the records were deleted.
        """
        await self._delete(user_id, users_key("*"), deleted_users_key())

    async def delete_video(self, video_id: str) -> None:
        """Delete a video's records of every layout, announce it to all services, and note the deletion.

        Raises:
            StoreError: Redis does not answer; it is not known whether the records were deleted.
        """
        await self._delete(video_id, videos_key("*"), deleted_videos_key())

    async def _delete(self, name: str, pattern: str, deleted: str) -> None:
        now_ms = milliseconds(await self.breaker.call(self._client.time(), self._timeout_s))
        layouts = await self.breaker.call(self._layouts(pattern), BULK_TIMEOUT_S)
        pipeline = self._client.pipeline(transaction=True)
        queue_deletion(pipeline, deleted, name, now_ms=now_ms)
        noted = len(pipeline)
        for layout in layouts:
            if deleted == deleted_videos_key():
                queue_deleted_video(pipeline, layout, name, now_ms=now_ms)
            else:
                pipeline.hdel(users_key(layout), name)
        answers = await self.breaker.call(pipeline.execute(raise_on_error=False), self._timeout_s)
        for place, answer in enumerate(answers):
            if isinstance(answer, Exception):
                self.report_undecodable(pattern if place >= noted else deleted, name, answer)
                if place < noted:
                    raise StoreError(f"{deleted}: expected Redis to note a deletion, found {answer}")

    async def _layouts(self, pattern: str) -> list[str]:
        """The layouts of which records are stored: other models may have stored others."""
        layouts: list[str] = []
        async for key in self._client.scan_iter(match=pattern, count=KEYS_PER_STEP, _type="hash"):
            try:
                layouts.append(key.decode().rpartition(":")[2])
            except UnicodeDecodeError as error:
                self.report_undecodable(pattern, key, error)
        return layouts

    async def ping(self) -> None:
        """Check that Redis answers.

        Raises:
            StoreError: It does not.
        """
        await self.breaker.call(self._client.ping(), self._timeout_s)

    async def close(self) -> None:
        """Close the connections."""
        await self.breaker.close()
        await self._client.aclose()

    def report_undecodable(self, key: str, name: str | bytes, reason: object) -> None:
        """Log and count something stored that cannot be read.

        Args:
            key: The key in Redis.
            name: The field or entry under the key.
            reason: What was expected, and found.
        """
        logger.error("%s: %.80r is left out: %s", key, name, reason)
        self._metrics.undecodable()

    def _with_ids(self, key: str, page: Mapping[bytes, bytes]) -> dict[str, bytes]:
        """The stored values by their ids, without those whose name is no text."""
        named: dict[str, bytes] = {}
        for name, value in page.items():
            try:
                named[name.decode()] = value
            except UnicodeDecodeError as error:
                self.report_undecodable(key, name, error)
        return named

    def _decode(
        self, key: str, layout: RecordLayout, ids: Sequence[str], values: Any
    ) -> tuple[dict[str, Words], bool]:
        """Decode the stored values of some ids.

        Args:
            key: Named in the log.
            layout: Of the records.
            ids: The ids.
            values: For each id its bytes or None; or the error with which Redis answered.

        Returns:
            Records, (W,) each, of those that are stored in this layout; and whether all that are stored are.
        """
        if isinstance(values, Exception):
            self.report_undecodable(key, "the whole key", f"expected stored records, found {values}")
            return {}, False
        stored = {name: value for name, value in zip(ids, values, strict=True) if value is not None}
        intact = {name: value for name, value in stored.items() if len(value) == layout.words * 8}
        for name in stored.keys() - intact.keys():
            found = len(stored[name])
            self.report_undecodable(
                key, name, f"expected stored records of {layout.words * 8} bytes, found one of {found}"
            )
        records = from_bytes(list(intact.values()), layout.words)
        return dict(zip(intact, records, strict=True)), len(intact) == len(stored)
