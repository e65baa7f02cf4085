"""Keeping a catalogue as the feature store has it: the whole at first, then every announced change."""

import asyncio
import json
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

from ranker.errors import StoreError
from ranker.features.record import Words
from ranker.store.keys import changes_key
from ranker.store.records import CHANGES_KEPT_MS, IDS_FIELD
from serving.model.catalogue import Catalogue
from serving.sync.cancellation import end
from serving.sync.feature_store import FeatureStore

logger = logging.getLogger(__name__)

Do = Callable[[Callable[[], None]], Awaitable[None]]
BLOCK_MS: Final = 500
"""How long one wait for changes takes; with the client's own timeout it stays well below two seconds."""
RETRY_S: Final = 0.2
ENTRIES_AT_ONCE: Final = 20
VIDEOS_AT_ONCE: Final = 1_000
"""Videos that change between two batches of requests: a few milliseconds."""
BEGINNING: Final = b"0-0"


@dataclass(frozen=True)
class Position:
    """How far changes were followed.

    Attributes:
        seen: Id of the last announcement; None before the first reading of the catalogue.
        server: The run of the Redis server that gave it.
        heard: `monotonic()` when the server last answered.
    """

    seen: bytes | None
    server: str | None
    heard: float


class Follower:
    """Follows the changes of one catalogue.

    Args:
        catalogue: Is kept up to date.
        store: Has the records.
        client: A client whose commands may block for `BLOCK_MS`.
        do: Runs what changes the catalogue in the thread that owns it.
    """

    def __init__(
        self, catalogue: Catalogue, store: FeatureStore, client: redis.asyncio.Redis, do: Do
    ) -> None:
        self._catalogue = catalogue
        self._store = store
        self._client = client
        self._do = do
        self._key = changes_key(catalogue.layout.digest)
        self._task: asyncio.Task[None] | None = None
        self._following = False
        self.position = Position(None, None, monotonic())

    async def start(self, *, after: Position | None = None) -> None:
        """Bring the catalogue up to date and go on following in the background.

        If the store is away, all of it is left to the background.

        Args:
            after: The catalogue is as it was at this position; None to read all of it.
        """
        if after is not None:
            self.position = after
        try:
            await self._take_up()
        except (redis.RedisError, OSError, StoreError) as error:
            logger.error("starting without the catalogue, which is read when Redis answers: %s", error)
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop following, and let go of the catalogue."""
        task, self._task = self._task, None
        await end(task)
        if task is not None and task.cancelled():
            try:
                task.result()
            except asyncio.CancelledError as error:
                # The frames that it went through hold the catalogue, and redis-py's hold the error.
                traceback.clear_frames(error.__traceback__)

    async def _follow(self) -> None:
        while True:
            try:
                if not self._following:
                    await self._take_up()
                await self._wait_for_changes()
            except (redis.RedisError, OSError, StoreError) as error:
                if self._following:
                    logger.warning("changes of videos are not followed until Redis is back: %s", error)
                self._following = False
                await asyncio.sleep(RETRY_S)
            except Exception:  # an announcement that is none, or a model out of memory
                logger.exception("changes of videos cannot be followed; reading the whole catalogue again")
                self._following, self.position = False, Position(None, None, monotonic())
                await asyncio.sleep(RETRY_S)

    async def _take_up(self) -> None:
        """Go on where this stands; another server, or announcements forgotten, mean to read all anew."""
        server = (await self._client.info("server"))["run_id"]
        seen = self.position.seen
        forgotten = (monotonic() - self.position.heard) * 1000 > CHANGES_KEPT_MS / 2
        if seen is None or server != self.position.server or forgotten:
            seen = await self._read_all()
        self.position = Position(seen, server, monotonic())
        self._following = True

    async def _read_all(self) -> bytes:
        """Read the whole catalogue; return the last announcement before it, from which to follow."""
        last: Any = await self._client.xrevrange(self._key, count=1)
        async for page in self._store.scan_videos(self._catalogue.layout):
            await self._do(partial(self._take, page))
        logger.info("%s videos are resident", f"{len(self._catalogue):,}")
        return bytes(last[0][0]) if last else BEGINNING

    async def _wait_for_changes(self) -> None:
        seen = self.position.seen
        assert seen is not None
        answer: Any = await self._client.xread({self._key: seen}, count=ENTRIES_AT_ONCE, block=BLOCK_MS)
        for _, entries in answer:
            announced = [json.loads(fields[IDS_FIELD.encode()]) for _, fields in entries]
            await self._change(list(dict.fromkeys(chain.from_iterable(announced))))
            seen = entries[-1][0]
        self.position = Position(seen, self.position.server, monotonic())

    async def _change(self, ids: list[str]) -> None:
        for start in range(0, len(ids), VIDEOS_AT_ONCE):
            piece = ids[start : start + VIDEOS_AT_ONCE]
            records = await self._store.read_videos(self._catalogue.layout, piece)
            gone = [video_id for video_id in piece if video_id not in records]
            await self._do(partial(self._take, records))
            await self._do(partial(self._catalogue.remove, gone))

    def _take(self, records: Mapping[str, Words]) -> None:
        if records:
            self._catalogue.put(list(records), np.stack(list(records.values())), evict=False)
