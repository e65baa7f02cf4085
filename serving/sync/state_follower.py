"""Keeping a model's feature state as new as the feature store has it."""

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any, Final

import redis
from numpy.typing import NDArray

from ranker.errors import DamagedStateError, StoreError
from ranker.features.state.feature_state import FeatureState
from ranker.store.state_store import StatePointer, StateStore
from serving.http.metrics import Metrics
from serving.model.served_model import ServedModel
from serving.model.served_state import ServedState
from serving.model.worker import ModelWorker

logger = logging.getLogger(__name__)

SILENCE_S: Final = 2.0
"""How long the store may be silent while a state is read."""
REFUSED_S: Final = 30.0
"""After so long, what was refused for a cause that may pass is looked at again."""


class StateFollower:
    """Looks for newer feature states, and has the models rank with them.

    While a model ranks, the store decides: another state than before is taken unless it is older than the
    model's bundle. So one that was begun anew with `--restart` is taken up, although it may have seen less.
    A model that is to take an old one's place begins with the newest of three: its bundle's state, the old
    model's and the store's; if the store's is not the newest, only another one will be taken.

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
        self._again = 0.0  # `monotonic()` from which on it is looked at again
        self._told: str | None = None
        self._complaint = ""

    async def refresh(self, model: ServedModel) -> bool:
        """Give the model that ranks the store's state, if that is another one and no older than its bundle.

        Feedback that the model's state holds back until its wait is over is let in on the way.

        Returns:
            Whether the model has a new state.
        """
        before = model.state
        if before.features.learns:
            bundles_ms = model.manifest.watermark_ms
            found = await asyncio.to_thread(self._weighed, before, bundles_ms, model)
            await self._worker.do(partial(model.take, found))
            await self._worker.do(partial(found.features.advance, _now_ms()))
        self._tell(model.state)
        return model.state.features is not before.features

    async def hand_over(self, old: ServedModel, new: ServedModel) -> None:
        """Give a model that is to take the old one's place the newest state.

        Args:
            old: Ranks meanwhile.
            new: Does not rank yet.
        """
        if not new.state.features.learns:
            return
        newest = old.state if old.state.succeeds(new.state) else new.state
        found = await asyncio.to_thread(self._weighed, newest, newest.watermark_ms, new)
        if found.features is old.state.features:  # it reads as the old model's spec says, so only its arrays
            arrays = await self._worker.do(found.features.state)
            found = replace(found, features=await asyncio.to_thread(_loaded, new, arrays))
        else:
            await asyncio.to_thread(found.features.advance, _now_ms())
        new.take(found)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _weighed(self, state: ServedState, least_ms: int | None, model: ServedModel) -> ServedState:
        """The store's state for this model, if it is another one and no older than so; else the one given."""
        store = StateStore(self._client, state.features.digest)
        found = None
        try:
            pointer = store.newest()
            if pointer is not None and pointer.version not in (state.version, state.passed_over):
                if least_ms is not None and pointer.watermark_ms < least_ms:
                    found = replace(state, passed_over=pointer.version)
                elif pointer.version != self._refused or monotonic() >= self._again:
                    found = self._read(store, pointer, model)
        except StoreError as error:
            if str(error) != self._complaint:
                logger.warning("the feature state stays as it is: %s", error)
            self._complaint = str(error)
        else:
            self._complaint = ""
        return found or state

    def _read(self, store: StateStore, pointer: StatePointer, model: ServedModel) -> ServedState | None:
        """The state that is pointed to; None if it is refused."""
        try:
            features = _loaded(model, store.read(pointer))
        except DamagedStateError as error:
            self._refuse(pointer.version, str(error), again=math.inf)
        except StoreError:
            raise
        except Exception as error:  # such as too little memory
            self._refuse(pointer.version, repr(error), again=monotonic() + REFUSED_S)
        else:
            return ServedState(features, pointer.watermark_ms, pointer.version)
        return None

    def _refuse(self, version: str, cause: str, *, again: float) -> None:
        if version != self._refused:
            self._metrics.state_load("refused")
        self._refused, self._again = version, again
        logger.error("the feature state %s is refused, the one of before goes on: %s", version, cause)

    def _tell(self, state: ServedState) -> None:
        """Say which state is ranked with, if it is another one of the store's, and how old it is."""
        if state.watermark_ms is None or not state.features.learns:
            self._metrics.state_age(0.0)
            return
        if state.version not in (None, self._told):
            self._metrics.state_load("done")
            logger.info(
                "ranking with the feature state %s: %s keys, as of %s UTC",
                state.version,
                f"{len(state.features):,}",
                f"{datetime.fromtimestamp(state.watermark_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}",
            )
        self._told = state.version
        self._metrics.state_age((_now_ms() - state.watermark_ms) / 1000)


def _loaded(model: ServedModel, arrays: Mapping[str, NDArray[Any]]) -> FeatureState:
    """A saved state as this model reads it, with the feedback that is known by now."""
    features = model.empty_state()
    features.load(arrays)
    features.advance(_now_ms())
    return features


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
