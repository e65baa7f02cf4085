"""Exchanging the model while serving: a new bundle is made ready beside the old one, then takes its place."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Final

import redis.asyncio
import torch

from ranker.bundles.registry import Registry
from ranker.device import choose_device, fast_bfloat16
from serving.http.metrics import Metrics
from serving.model.memory import give_back
from serving.model.served_model import ServedModel
from serving.model.worker import ModelWorker
from serving.sync.cancellation import end
from serving.sync.catalogue_follower import Follower, Position
from serving.sync.feature_store import FeatureStore
from serving.sync.state_follower import REFUSED_S, StateFollower

logger = logging.getLogger(__name__)

POLL_S: Final = 1.0
"""How often the registry is asked for its current version."""
COPIED_AT_ONCE: Final = 10_000
"""Videos that are copied from the old model between two batches of requests: a few milliseconds."""
LONG_S: Final = 3.0
"""A model's first rankings hardly take longer where no code has to be compiled."""
COMPILING: Final = (
    "still making the model ready: it may be that it compiles code, as the first one on a machine does; "
    "that takes up to a minute and is kept for the next"
)


class HotSwap:
    """Has the model that ranks, and watches the registry for another.

    A version that does not verify, or cannot be made ready, never takes the place of one that ranks.

    Args:
        registry: Has the bundles.
        store: Has the records of videos.
        client: For following changes; its commands may block.
        worker: Owns the models once they rank.
        states: Keeps their feature state as new as the store's.
        metrics: Counts swaps.
        catalogue_bytes: Memory of one model's resident videos.
        device: Where models run: auto, cpu or cuda.
    """

    def __init__(
        self,
        registry: Registry,
        store: FeatureStore,
        client: redis.asyncio.Redis,
        worker: ModelWorker,
        states: StateFollower,
        metrics: Metrics,
        *,
        catalogue_bytes: int,
        device: str,
    ) -> None:
        self._registry = registry
        self._store = store
        self._client = client
        self._worker = worker
        self._states = states
        self._metrics = metrics
        self._catalogue_bytes = catalogue_bytes
        self._device = choose_device(device)
        self._refused: dict[str, float] = {}
        self._watching: asyncio.Task[None] | None = None
        self.model = self._prepared(None)
        self._follower = self._follower_of(self.model)
        metrics.model(self.model.manifest.model_version)

    async def start(self) -> None:
        """Read the catalogue and the newest feature state, then watch for newer ones in the background."""
        await self._follower.start()
        await self._states.refresh(self.model)
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop watching and following."""
        await end(self._watching)
        await self._follower.stop()

    async def _watch(self) -> None:
        tried = False
        while True:
            await asyncio.sleep(POLL_S)
            if tried:  # by now nothing holds the model or state that was replaced, nor a refused model
                await asyncio.to_thread(give_back)
                tried = False
            self._metrics.resident_videos(len(self.model.catalogue))
            try:
                tried = await self._states.refresh(self.model)
            except Exception as error:
                logger.warning("the feature state cannot be refreshed, it stays as it is: %r", error)
            try:
                version = await asyncio.to_thread(self._registry.current)
            except Exception as error:
                logger.warning("the registry cannot be asked for its current version: %s", error)
                continue
            refused = self._refused.get(version)
            waiting = refused is not None and monotonic() - refused < REFUSED_S
            if version != self.model.manifest.model_version and not waiting:
                await self._swap(version)
                tried = True

    async def _swap(self, version: str) -> None:
        old, old_follower = self.model, self._follower
        try:
            new = await asyncio.to_thread(self._prepared, version)
            await self._states.hand_over(old, new)
            follower = self._follower_of(new)
            await follower.start(after=await self._copied(old, new, old_follower.position))
        except Exception as error:  # whatever is wrong with it, the old one goes on
            if version not in self._refused:
                self._metrics.swap("refused")
            self._refused[version] = monotonic()
            logger.error("%s is refused, %s goes on: %s", version, old.manifest.model_version, error)
            return
        self.model, self._follower = new, follower
        await old_follower.stop()
        self._metrics.model(version)
        self._metrics.swap("done")
        logger.info("%s ranks in place of %s", version, old.manifest.model_version)

    async def _copied(self, old: ServedModel, new: ServedModel, position: Position) -> Position | None:
        """Make the old model's videos resident in the new one, if their records are alike.

        Returns:
            From where their changes have to be followed again; None if nothing was copied.
        """
        if new.catalogue.layout.digest != old.catalogue.layout.digest:
            return None
        ids = await self._worker.do(old.catalogue.ids)
        for start in range(0, len(ids), COPIED_AT_ONCE):
            piece = ids[start : start + COPIED_AT_ONCE]
            copies = await self._worker.do(partial(old.catalogue.copies, piece))
            await asyncio.to_thread(new.catalogue.put, *copies)
        return position

    def _prepared(self, version: str | None) -> ServedModel:
        """Read and verify a bundle, prepare its network, and rank with it once or twice."""
        bundle = self._registry.read(version)
        bundle = replace(bundle, model=bundle.model.to(self._device))
        dtype = torch.bfloat16 if fast_bfloat16(self._device) else torch.float32
        model = ServedModel(bundle, self._catalogue_bytes, dtype)
        with _patience():
            model.warm_up()
        return model

    def _follower_of(self, model: ServedModel) -> Follower:
        return Follower(model.catalogue, self._store, self._client, self._worker.do)


@contextmanager
def _patience() -> Iterator[None]:
    """Say what takes so long, if it does."""
    timer = threading.Timer(LONG_S, logger.info, [COMPILING])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
