"""Keeping a model's feature state as new as the feature store has it."""

import asyncio
import logging
import time
from datetime import UTC, datetime
from functools import partial
from typing import Final

import redis

from ranker.errors import StoreError
from ranker.features.state.feature_state import FeatureState
from ranker.store.feature_state import DamagedStateError, StatePointer, StateStore
from serving.metrics import Metrics
from serving.model_worker import ModelWorker
from serving.served_model import ServedModel
from serving.served_state import ServedState

logger = logging.getLogger(__name__)

SILENCE_S: Final = 2.0
"""How long the store may be silent while a state is read."""


class StateFollower:
    """Looks for newer feature states, and has the models rank with them.

    Without the store, and while what is there is damaged, a model goes on with the state that it has.

    Args:
        client: The store, for commands that wait in a thread.
        worker: Owns the models once they rank.
        metrics: Told of the state's age, and of states that were taken or refused.
    """

    def __init__(self, client: redis.Redis, worker: ModelWorker, metrics: Metrics) -> None:
        self._client = client
        self._worker = worker
        self._metrics = metrics
        self._refused: str | None = None
        self._complaint = ""

    async def refresh(self, model: ServedModel) -> bool:
        """Give a model the store's state, if that is another one than it has, and no older than its bundle.

        Feedback that the model's state holds back until its wait is over is let in on the way.

        Returns:
            Whether the model has a new state.
        """
        if not model.state.features.learns:
            return False
        newer = await asyncio.to_thread(self._newer, model)
        if newer is not None:
            await self._worker.do(partial(model.take, newer))
            self._metrics.state_load("done")
            logger.info(
                "ranking with the feature state %s: %s keys, as of %s UTC",
                newer.version,
                f"{len(newer.features):,}",
                f"{datetime.fromtimestamp((newer.watermark_ms or 0) / 1000, UTC):%Y-%m-%d %H:%M:%S}",
            )
        else:
            await self._worker.do(partial(model.state.features.advance, _now_ms()))
        if model.state.watermark_ms is not None:
            self._metrics.state_age((_now_ms() - model.state.watermark_ms) / 1000)
        return newer is not None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _newer(self, model: ServedModel) -> ServedState | None:
        store = StateStore(self._client, model.state.features.digest)
        try:
            pointer = store.newest()
            found = None
            if pointer is not None and self._is_wanted(pointer, model):
                found = self._read(store, pointer, model.empty_state())
        except StoreError as error:
            if str(error) != self._complaint:
                logger.warning("the feature state stays as it is: %s", error)
            self._complaint = str(error)
            return None
        self._complaint = ""
        return found

    def _is_wanted(self, pointer: StatePointer, model: ServedModel) -> bool:
        if pointer.version in (model.state.version, self._refused):
            return False
        bundles_ms = model.manifest.watermark_ms
        return bundles_ms is None or pointer.watermark_ms >= bundles_ms

    def _read(self, store: StateStore, pointer: StatePointer, features: FeatureState) -> ServedState | None:
        try:
            features.load(store.read(pointer))
        except Exception as error:  # whatever is wrong with it, the one of before goes on
            if isinstance(error, StoreError) and not isinstance(error, DamagedStateError):
                raise
            self._refused = pointer.version
            self._metrics.state_load("refused")
            logger.error(
                "the feature state %s is refused, the one of before goes on: %s", pointer.version, error
            )
            return None
        features.advance(_now_ms())
        return ServedState(features, pointer.watermark_ms, pointer.version)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
