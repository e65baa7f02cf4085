"""Keeping a model's feature state up to date with the feature store."""

import asyncio
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any, Final

import redis
from numpy.typing import NDArray

from ranker.errors import DamagedStateError, StoreError
from ranker.event_times import time_text
from ranker.features.state.feature_state import FeatureState
from ranker.store.state_store import StatePointer, StateStore
from serving.http.metrics import Metrics
from serving.model.served_model import ServedModel
from serving.model.served_state import ServedState
from serving.model.worker import ModelWorker

logger = logging.getLogger(__name__)

READ_TIMEOUT_S: Final = 2.0
"""How long the store may take for each answer while a state is read."""
RETRY_REFUSED_S: Final = 30.0
"""A state or bundle that was refused for a cause that may pass is tried again after so long."""


class StateKeeper(ABC):
    """Keeps the feature state of the model that ranks up to date."""

    @abstractmethod
    async def refresh(self, model: ServedModel) -> bool:
        """Bring the state of the model that ranks up to date.

        Returns:
            Whether the model has another state than before.
        """

    @abstractmethod
    async def hand_over(self, old: ServedModel, new: ServedModel) -> None:
        """Give a model that will replace the old one the newest state.

        Args:
            old: Ranks meanwhile.
            new: Does not rank yet.
        """

    @abstractmethod
    async def close(self) -> None:
        """Stop, and close the connections."""


class StateFollower(StateKeeper):
    """Looks for newer feature states in the store, and gives them to the models.

    A model that ranks takes any state of the store that is not its present one, unless it is older than the
    model's bundle. So it also takes one that was begun again with `--restart`, although that may have seen
    less. A model that will replace another starts with the newest of three states: its bundle's, the old
    model's and the store's; if the store's is not the newest, that version of it is not taken later either.

    While the store does not answer, or its state is damaged, a model keeps the state that it has.

    Args:
        client: A blocking client of the store; it is used in threads.
        worker: Owns the models once they rank.
        metrics: Records the state's age, and counts states that were taken or refused.
    """

    def __init__(self, client: redis.Redis, worker: ModelWorker, metrics: Metrics) -> None:
        self._client = client
        self._worker = worker
        self._metrics = metrics
        self._refused_version: str | None = None
        self._retry_at = 0.0  # `monotonic()` from which on it is tried again
        self._reported: str | None = None
        self._last_error = ""

    async def refresh(self, model: ServedModel) -> bool:
        """Give the model that ranks the store's state, if it is another one and no older than its bundle.

        The state also learns the feedback whose `label_wait` is over by now.

        Returns:
            Whether the model has another state than before.
        """
        before = model.state
        if before.features.learns:
            bundle_ms = model.manifest.watermark_ms
            chosen = await asyncio.to_thread(self._choose_state, before, bundle_ms, model)
            await self._worker.call(partial(model.use_state, chosen))
            await self._worker.call(partial(chosen.features.advance, _now_ms()))
        self._report_state(model.state)
        return model.state.features is not before.features

    async def hand_over(self, old: ServedModel, new: ServedModel) -> None:
        """See `StateKeeper`."""
        if not new.state.features.learns:
            return
        newest = old.state if old.state.is_newer_than(new.state) else new.state
        chosen = await asyncio.to_thread(self._choose_state, newest, newest.watermark_ms, new)
        if chosen.features is old.state.features:  # they read the arrays as the old model's spec says
            arrays = await self._worker.call(chosen.features.state)
            chosen = replace(chosen, features=await asyncio.to_thread(_loaded, new, arrays))
        else:
            await asyncio.to_thread(chosen.features.advance, _now_ms())
        new.use_state(chosen)

    async def close(self) -> None:
        """See `StateKeeper`."""
        self._client.close()

    def _choose_state(
        self, state: ServedState, min_watermark_ms: int | None, model: ServedModel
    ) -> ServedState:
        """Choose between a state and the store's.

        Args:
            state: Is chosen if the store has no other one that can be used.
            min_watermark_ms: An older state of the store is not used.
            model: Will rank with the chosen state.
        """
        store = StateStore(self._client, state.features.digest)
        chosen = None
        try:
            pointer = store.newest()
            if pointer is not None and pointer.version not in (state.version, state.rejected_version):
                if min_watermark_ms is not None and pointer.watermark_ms < min_watermark_ms:
                    chosen = replace(state, rejected_version=pointer.version)
                elif pointer.version != self._refused_version or monotonic() >= self._retry_at:
                    chosen = self._read(store, pointer, model)
        except StoreError as error:
            if str(error) != self._last_error:
                logger.warning("the feature state stays as it is: %s", error)
                if isinstance(error, DamagedStateError):
                    self._metrics.undecodable()
            self._last_error = str(error)
        else:
            self._last_error = ""
        return chosen or state

    def _read(self, store: StateStore, pointer: StatePointer, model: ServedModel) -> ServedState | None:
        """Read the state that is pointed to; None if it is refused."""
        try:
            features = _loaded(model, store.read(pointer))
        except DamagedStateError as error:
            self._refuse(pointer.version, str(error), retry_at=math.inf)
        except StoreError:
            raise
        except Exception as error:  # such as too little memory
            self._refuse(pointer.version, repr(error), retry_at=monotonic() + RETRY_REFUSED_S)
        else:
            return ServedState(features, pointer.watermark_ms, pointer.version)
        return None

    def _refuse(self, version: str, cause: str, *, retry_at: float) -> None:
        if version != self._refused_version:
            self._metrics.state_load("refused")
        self._refused_version, self._retry_at = version, retry_at
        logger.error("the feature state %s is refused, the one of before goes on: %s", version, cause)

    def _report_state(self, state: ServedState) -> None:
        """Record the state's age, and log it once if it came from the store."""
        if state.watermark_ms is None or not state.features.learns:
            self._metrics.state_age(0.0)
            return
        if state.version not in (None, self._reported):
            self._metrics.state_load("done")
            logger.info(
                "ranking with the feature state %s: %s keys, as of %s",
                state.version,
                f"{len(state.features):,}",
                time_text(state.watermark_ms),
            )
        self._reported = state.version
        self._metrics.state_age((_now_ms() - state.watermark_ms) / 1000)


def _loaded(model: ServedModel, arrays: Mapping[str, NDArray[Any]]) -> FeatureState:
    """Load a saved state as this model's spec reads it, and let it learn the feedback that is due by now."""
    features = model.empty_state()
    features.load(arrays)
    features.advance(_now_ms())
    return features


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
