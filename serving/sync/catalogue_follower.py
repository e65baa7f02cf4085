"""Keeping a model's catalogue up to date: all stored videos at first, then every announced change."""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from time import monotonic
from typing import Any, Final

import numpy as np
import redis
import redis.asyncio
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ranker.errors import StoreError
from ranker.features.record import Words
from ranker.store.keys import changes_key
from ranker.store.records import CHANGES_KEPT_MS, IDS_FIELD
from serving.model.served_model import ServedModel
from serving.sync.cancellation import cancel_and_wait
from serving.sync.feature_store import FeatureStore

logger = logging.getLogger(__name__)

Call = Callable[[Callable[[], None]], Awaitable[None]]
BLOCK_MS: Final = 500
"""How long one read waits for changes; with the client's own timeout it stays well below two seconds."""
RETRY_S: Final = 0.2
ENTRIES_PER_READ: Final = 20
VIDEOS_PER_CALL: Final = 1_000
"""Videos that change between two batches of requests, which takes a few milliseconds."""
FIRST_ENTRY: Final = b"0-0"
_IDS: Final = TypeAdapter(list[str], config=ConfigDict(strict=True))


@dataclass(frozen=True)
class StreamCursor:
    """How far the stream of changes was read.

    Attributes:
        entry_id: Of the last entry that was read; None before the first reading of the catalogue.
        run_id: Of the Redis server whose stream it is.
        answered_at: `monotonic()` when the server last answered.
    """

    entry_id: bytes | None
    run_id: str | None
    answered_at: float


class CatalogueFollower:
    """Applies the stored changes of videos to one model's catalogue.

    Args:
        model: Has the catalogue.
        store: Has the records.
        client: A client whose commands may block for `BLOCK_MS`.
        call: Calls a function that changes the catalogue in the thread that owns it.

    Attributes:
        cursor: How far the changes were applied.
    """

    def __init__(
        self, model: ServedModel, store: FeatureStore, client: redis.asyncio.Redis, call: Call
    ) -> None:
        self._model = model
        self._store = store
        self._client = client
        self._call = call
        self._key = changes_key(model.catalogue.layout.digest)
        self._task: asyncio.Task[None] | None = None
        self._following = False
        self._up_to_date_at = monotonic()
        self.cursor = StreamCursor(None, None, monotonic())

    @property
    def lag_s(self) -> float:
        """Seconds since all announced changes were applied; below `BLOCK_MS` and a bit when all is well."""
        return monotonic() - self._up_to_date_at

    async def start(self, *, after: StreamCursor | None = None) -> None:
        """Bring the catalogue up to date, and keep it so in the background.

        If Redis does not answer, the background task also does the first reading.

        Args:
            after: The catalogue has all changes up to this cursor; None to read all stored videos.
        """
        if after is not None:
            self.cursor = after
        try:
            await self._catch_up()
        except (redis.RedisError, OSError, StoreError) as error:
            logger.error("starting without the catalogue, which is read when Redis answers: %s", error)
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop following, and release the references to the catalogue."""
        task, self._task = self._task, None
        await cancel_and_wait(task)
        if task is not None and task.cancelled():
            try:
                task.result()
            except asyncio.CancelledError as error:
                # The error's frames reference the catalogue, and redis-py's frames reference the error.
                traceback.clear_frames(error.__traceback__)

    async def _follow(self) -> None:
        while True:
            try:
                if not self._following:
                    await self._catch_up()
                await self._wait_for_changes()
            except (redis.RedisError, OSError, StoreError) as error:
                if self._following:
                    logger.warning("changes of videos are not followed until Redis is back: %s", error)
                self._following = False
                await asyncio.sleep(RETRY_S)
            except Exception:  # a malformed stream entry, or a model out of memory
                logger.exception("changes of videos cannot be followed; reading the whole catalogue again")
                self._following, self.cursor = False, StreamCursor(None, None, monotonic())
                await asyncio.sleep(RETRY_S)

    async def _catch_up(self) -> None:
        """Go on from the cursor; read everything again if the server is another or has trimmed its stream."""
        run_id = (await self._client.info("server"))["run_id"]
        entry_id = self.cursor.entry_id
        trimmed = (monotonic() - self.cursor.answered_at) * 1000 > CHANGES_KEPT_MS / 2
        if entry_id is None or run_id != self.cursor.run_id or trimmed:
            entry_id = await self._read_all()
        self.cursor = StreamCursor(entry_id, run_id, monotonic())
        self._following = True

    async def _read_all(self) -> bytes:
        """Read all stored videos; return the last entry of the stream before that, from which to follow."""
        last: Any = await self._client.xrevrange(self._key, count=1)
        async for page in self._store.scan_videos(self._model.catalogue.layout):
            await self._call(partial(self._put, page))
        logger.info("%s videos are resident", f"{len(self._model.catalogue):,}")
        return bytes(last[0][0]) if last else FIRST_ENTRY

    async def _wait_for_changes(self) -> None:
        entry_id = self.cursor.entry_id
        assert entry_id is not None
        answer: Any = await self._client.xread({self._key: entry_id}, count=ENTRIES_PER_READ, block=BLOCK_MS)
        for _, entries in answer:
            changed = [self._changed_ids(*entry) for entry in entries]
            await self._refresh(list(dict.fromkeys(chain.from_iterable(changed))))
            entry_id = entries[-1][0]
        if not answer and entry_id != FIRST_ENTRY and await self._ends_before(entry_id):
            logger.warning("the stream of changes ends before what was read of it; reading all videos again")
            entry_id = await self._read_all()
        self.cursor = StreamCursor(entry_id, self.cursor.run_id, monotonic())
        if not answer or len(answer[0][1]) < ENTRIES_PER_READ:
            self._up_to_date_at = self.cursor.answered_at

    async def _ends_before(self, entry_id: bytes) -> bool:
        """Whether the stream has never had this entry: it was deleted, and began anew or did not yet."""
        try:
            last: bytes = (await self._client.xinfo_stream(self._key))["last-generated-id"]
        except redis.ResponseError:  # there is no stream
            return True
        return _order(last) < _order(entry_id)

    def _changed_ids(self, entry_id: bytes, fields: Mapping[bytes, bytes]) -> list[str]:
        """The videos that an entry of the stream announces; none if it cannot be read."""
        try:
            return _IDS.validate_json(fields.get(IDS_FIELD.encode(), b""))
        except ValidationError:
            found = f"expected {IDS_FIELD} with a list of ids in JSON, found {fields!r:.80}"
            self._store.report_undecodable(self._key, entry_id.decode(), found)
            return []

    async def _refresh(self, ids: list[str]) -> None:
        for start in range(0, len(ids), VIDEOS_PER_CALL):
            chunk = ids[start : start + VIDEOS_PER_CALL]
            records = await self._store.read_videos(self._model.catalogue.layout, chunk)
            deleted = [video_id for video_id in chunk if video_id not in records]
            await self._call(partial(self._put, records))
            await self._call(partial(self._model.catalogue.remove, deleted))

    def _put(self, records: Mapping[str, Words]) -> None:
        if records:
            self._model.put_videos(list(records), np.stack(list(records.values())), evict=False)


def _order(entry_id: bytes) -> tuple[int, int]:
    """What entries of a stream are sorted by: milliseconds and a number."""
    time_ms, number = entry_id.split(b"-")
    return int(time_ms), int(number)
