"""Replacing the model while serving: a new bundle is prepared beside the old one, then ranks in its place."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from time import monotonic, time
from typing import Final

import redis.asyncio
import torch

from ranker.bundles.bundle import Bundle
from ranker.bundles.registry import Registry
from ranker.device import choose_device, fast_bfloat16
from ranker.errors import StoreError
from serving.http.metrics import Metrics
from serving.model.memory import release_free_memory
from serving.model.served_model import ServedModel
from serving.model.worker import ModelWorker
from serving.sync.bounded_call import BoundedCalls
from serving.sync.cancellation import cancel_and_wait
from serving.sync.catalogue_follower import CatalogueFollower, StreamCursor
from serving.sync.deletions_follower import DeletionsFollower
from serving.sync.feature_store import FeatureStore
from serving.sync.opened_bundle import OpenedBundle, open_in_time
from serving.sync.state_follower import RETRY_REFUSED_S, StateKeeper

logger = logging.getLogger(__name__)

POLL_S: Final = 1.0
"""How often the registry is asked for its current version, and followers for what is new."""
LOCAL_POLL_S: Final = 0.1
"""How often a registry on this machine's disks is asked: it costs a fifth of a millisecond."""
ASK_S: Final = 10.0
"""How long the registry may take to say which version is current."""
READ_S: Final = 300.0
"""How long it may take to give a bundle."""
VIDEOS_PER_COPY: Final = 10_000
"""Videos that are copied from the old model between two batches of requests: a few milliseconds."""
SLOW_WARM_UP_S: Final = 3.0
"""A warm-up hardly takes longer where no code has to be compiled."""
COMPILING: Final = (
    "still preparing the model: the first one on a machine compiles code, "
    "which takes up to a minute and is kept for the next"
)


class HotSwap:
    """Owns the model that ranks, and replaces it when the registry's current version changes.

    A version that does not verify, or cannot be prepared, never replaces a model that ranks. At the start,
    another one stands in for it. A registry that hangs is waited for with a limit.

    Args:
        registry: Has the bundles.
        store: Has the records of videos.
        client: For following changes; its commands may block.
        worker: Owns the models once they rank.
        states: Keeps their feature state up to date.
        deletions: Lets them forget what was deleted.
        metrics: Counts swaps.
        catalogue_bytes: Memory that one model's resident videos may take.
        device: Where models run: auto, cpu or cuda.

    Attributes:
        model: The model that ranks now.
        refused: The registry's current version, if it could not take the place of the one that ranks.

    Raises:
        RegistryError: The registry has no bundle, or cannot be read.
        BundleError: None of its bundles verifies.
    """

    def __init__(
        self,
        registry: Registry,
        store: FeatureStore,
        client: redis.asyncio.Redis,
        worker: ModelWorker,
        states: StateKeeper,
        deletions: DeletionsFollower,
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
        self._deletions = deletions
        self._metrics = metrics
        self._catalogue_bytes = catalogue_bytes
        self._device = choose_device(device)
        self._refused_at: dict[str, float] = {}
        self._watch_task: asyncio.Task[None] | None = None
        self._forget_task: asyncio.Task[None] | None = None
        self._asking = BoundedCalls(registry.shown)
        self._silence: str | None = None
        opened = open_in_time(registry, ask_s=ASK_S, read_s=READ_S)
        self.refused = opened.in_place_of
        if self.refused is not None:
            self._refuse(self.refused)
        self._hold = opened.hold
        self.model = self._prepare(opened.bundle)
        self._follower = self._follower_of(self.model)
        metrics.model(self.model.manifest.model_version)
        metrics.registry_look(time())

    async def start(self) -> None:
        """Read the catalogue and the newest feature state, then watch for newer ones in the background."""
        await self._follower.start()
        await self._refresh_state()
        await self._deletions.refresh(self.model)
        self._watch_task = asyncio.create_task(self._watch())
        self._forget_task = asyncio.create_task(self._forget_deleted())

    async def stop(self) -> None:
        """Stop watching and following."""
        await cancel_and_wait(self._watch_task)
        await cancel_and_wait(self._forget_task)
        await self._follower.stop()
        self._hold.close()

    async def _watch(self) -> None:
        may_trim = False
        poll_s = min(LOCAL_POLL_S, POLL_S) if self._registry.is_local else POLL_S
        chores_at = monotonic() + POLL_S
        while True:
            await asyncio.sleep(poll_s)
            if monotonic() >= chores_at:
                may_trim = await self._do_chores(may_trim)
                chores_at = monotonic() + POLL_S
            version = await self._ask()
            if version is None:
                continue
            if version == self.model.manifest.model_version:
                self.refused = None
            refused_at = self._refused_at.get(version)
            too_early = refused_at is not None and monotonic() - refused_at < RETRY_REFUSED_S
            if version != self.model.manifest.model_version and not too_early:
                await self._swap(version)
                may_trim = True

    async def _do_chores(self, may_trim: bool) -> bool:
        """Do what is due every second; return whether there will be memory to give back."""
        if may_trim:  # by now nothing references a replaced model or state, or a refused model
            await asyncio.to_thread(release_free_memory)
        self._metrics.resident_videos(len(self.model.catalogue))
        self._metrics.changes_lag(self._follower.lag_s)
        has_other_state = await self._refresh_state()
        with suppress(StoreError):
            await self._store.ping()  # so that an absence is noticed where nobody asks for features
        return has_other_state

    async def _forget_deleted(self) -> None:
        """Follow deletions in a task of their own: many of them take longer than a swap may wait."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self._deletions.refresh(self.model)
            except Exception as error:
                logger.warning("deleted viewers and videos are not forgotten yet: %r", error)

    async def _ask(self) -> str | None:
        """Ask the registry for its current version; None, and a line in the log, if it does not say."""
        try:
            version = await self._asking.call(self._registry.current, ASK_S)
        except Exception as error:
            if str(error) != self._silence:
                logger.warning("the registry cannot be asked for its current version: %s", error)
            self._silence = str(error)
            return None
        if self._silence is not None:
            logger.info("the registry says again which version is current: %s", version)
        self._silence = None
        self._metrics.registry_look(time())
        return version

    async def _refresh_state(self) -> bool:
        """Take up a newer feature state; return whether the model has another one than before."""
        try:
            return await self._states.refresh(self.model)
        except Exception as error:
            logger.warning("the feature state cannot be refreshed, it stays as it is: %r", error)
            return False

    async def _swap(self, version: str) -> None:
        old, old_follower = self.model, self._follower
        hold = ExitStack()
        try:
            opened = await self._asking.call(partial(OpenedBundle.open, self._registry, version), READ_S)
            hold = opened.hold
            new = await asyncio.to_thread(self._prepare, opened.bundle)
            await self._states.hand_over(old, new)
            follower = self._follower_of(new)
            await follower.start(after=await self._copy_videos(old, new, old_follower.cursor))
        except Exception as error:  # whatever is wrong with the new model, the old one continues
            hold.close()
            self._refuse(version)
            logger.error("%s is refused, %s goes on: %s", version, old.manifest.model_version, error)
            return
        self._hold.close()
        self.model, self._follower, self._hold, self.refused = new, follower, hold, None
        await self._refresh_state()
        await old_follower.stop()
        self._metrics.model(version)
        self._metrics.swap("done")
        logger.info("%s ranks in place of %s", version, old.manifest.model_version)

    async def _copy_videos(
        self, old: ServedModel, new: ServedModel, cursor: StreamCursor
    ) -> StreamCursor | None:
        """Make the old model's videos resident in the new one, if their records have the same layout.

        Args:
            old: Ranks meanwhile.
            new: Does not rank yet.
            cursor: How far changes were applied to the old model before the copy.

        Returns:
            The cursor from which changes have to be applied again; None if nothing was copied.
        """
        if new.catalogue.layout.digest != old.catalogue.layout.digest:
            return None
        ids = await self._worker.call(old.catalogue.ids)
        for start in range(0, len(ids), VIDEOS_PER_COPY):
            chunk = ids[start : start + VIDEOS_PER_COPY]
            copies = await self._worker.call(partial(old.catalogue.copies, chunk))
            await asyncio.to_thread(new.put_videos, *copies)
        return cursor

    def _refuse(self, version: str) -> None:
        """Note that a version cannot take over; it is tried again later."""
        if version not in self._refused_at:
            self._metrics.swap("refused")
        self.refused, self._refused_at[version] = version, monotonic()

    def _prepare(self, bundle: Bundle) -> ServedModel:
        """Prepare a bundle's network, and warm it up."""
        bundle = replace(bundle, model=bundle.model.to(self._device))
        dtype = torch.bfloat16 if fast_bfloat16(self._device) else torch.float32
        model = ServedModel(bundle, self._catalogue_bytes, dtype)
        with _log_if_slow():
            model.warm_up()
        return model

    def _follower_of(self, model: ServedModel) -> CatalogueFollower:
        return CatalogueFollower(model, self._store, self._client, self._worker.call)


@contextmanager
def _log_if_slow() -> Iterator[None]:
    """Log why the block takes so long, if it takes longer than `SLOW_WARM_UP_S`."""
    timer = threading.Timer(SLOW_WARM_UP_S, logger.info, [COMPILING])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
