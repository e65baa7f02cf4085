"""Forgetting deleted viewers and videos in a model that ranks, and in every state that it is given later."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

import redis

from ranker.errors import StoreError
from ranker.events import USER_ID, VIDEO_ID
from ranker.features.state.feature_state import FeatureState
from ranker.store.deletions import Deletions, read_deletions
from ranker.store.records import milliseconds
from serving.model.served_model import ServedModel
from serving.model.worker import ModelWorker

logger = logging.getLogger(__name__)

OVERLAP_MS: Final = 10_000
"""Time before the last look of which deletions are read again: those of one moment do not arrive at one."""
VIDEOS_PER_CALL: Final = 1_000
"""Resident videos that a viewer is forgotten with between two batches: some ten milliseconds."""


class DeletionsFollower:
    """Applies the store's deletions to the model that ranks.

    Of the deletions that are older than the model or its state, it is only told of those after the last event
    that either has seen: what ends later was told of the others when it was made, and may know what came
    afterwards.

    Args:
        client: A blocking client of the store; it is used in threads.
        worker: Owns the models.
        report_unreadable: Told of keys and entries that are no deletions, and why.
    """

    def __init__(
        self, client: redis.Redis, worker: ModelWorker, report_unreadable: Callable[[str, bytes, str], None]
    ) -> None:
        self._client = client
        self._worker = worker
        self._report_unreadable = report_unreadable
        self._reported: set[tuple[str, bytes]] = set()
        self._state: FeatureState | None = None
        self._model: ServedModel | None = None
        self._looked_ms = 0
        self._applied: set[tuple[str, str, int]] = set()
        self._last_error = ""

    async def refresh(self, model: ServedModel) -> None:
        """Forget what was deleted since the last call; all that concerns it if model or state are others."""
        state = model.state
        is_new = model is not self._model or state.features is not self._state
        if is_new:
            self._looked_ms, self._applied = 0, set()
        try:
            now_ms, found = await asyncio.to_thread(self._look)
        except StoreError as error:
            if str(error) != self._last_error:
                logger.warning("deletions are not followed for now: %s", error)
            self._last_error = str(error)
            return
        self._last_error = ""
        for entry in set(found.unreadable) - self._reported:
            self._report_unreadable(*entry, "expected an id in UTF-8 and the time of its deletion")
        self._reported = set(found.unreadable)
        fresh = self._not_applied(found)
        for column, name in fresh.after(model.manifest.watermark_ms if is_new else None).by_column():
            await self._worker.call(partial(model.forget_row, column, name))
        if state.features.learns:
            for column, name in fresh.after(state.watermark_ms if is_new else None).by_column():
                await self._forget(model, column, name)
        self._model, self._state = model, state.features
        self._looked_ms = now_ms
        self._applied = _items(found)

    def _look(self) -> tuple[int, Deletions]:
        """The server's time and the deletions since the last look, also if its clock was put back."""
        try:
            now_ms = milliseconds(self._client.time())
        except redis.RedisError as error:
            raise StoreError(f"expected Redis to tell its time, found {error}") from error
        return now_ms, read_deletions(self._client, min(self._looked_ms, now_ms) - OVERLAP_MS)

    async def _forget(self, model: ServedModel, column: str, name: str) -> None:
        ids = await self._worker.call(model.catalogue.ids) if column == USER_ID else []
        for start in range(0, max(len(ids), 1), VIDEOS_PER_CALL):
            chunk = ids[start : start + VIDEOS_PER_CALL]
            await self._worker.call(partial(model.forget, column, name, chunk))

    def _not_applied(self, found: Deletions) -> Deletions:
        fresh = _items(found) - self._applied
        users = {name: at_ms for column, name, at_ms in fresh if column == USER_ID}
        videos = {name: at_ms for column, name, at_ms in fresh if column == VIDEO_ID}
        return Deletions(users, videos)


def _items(deletions: Deletions) -> set[tuple[str, str, int]]:
    users = {(USER_ID, name, at_ms) for name, at_ms in deletions.users.items()}
    return users | {(VIDEO_ID, name, at_ms) for name, at_ms in deletions.videos.items()}
