"""Keeping a model's feature state up to date with the log of events.

Every process follows the log by itself, so what a viewer does counts for all of them as soon as it has
arrived and its `label_wait` is over. The state is read as of a tick: up to then all entries have been taken
in.
"""

import asyncio
import logging
from dataclasses import replace
from functools import partial
from typing import Final

from ranker.errors import EventLogError, StoreError
from ranker.stream.event_log import BEGINNING, LAST_NUMBER, Entry, EntryId, EventLog
from ranker.stream.state_changes import StateChange, StateChanges
from serving.http.metrics import Metrics
from serving.model.served_model import ServedModel
from serving.model.worker import ModelWorker
from serving.sync.cancellation import cancel_and_wait
from serving.sync.state_follower import StateKeeper

logger = logging.getLogger(__name__)

TICK_S: Final = 0.25
"""How often the log is read."""
ENTRIES_PER_READ: Final = 50
"""Entries that are taken in between two batches of requests: a few milliseconds of the model's thread."""
RETRY_S: Final = 1.0


class EventFollower(StateKeeper):
    """Lets the feature state of the model that ranks follow the log of events.

    A model begins with its bundle's state, which knows the log up to the bundle's watermark; one that
    replaces another of the same state features goes on with the other's. States of the feature store are not
    taken.

    Args:
        log: The log; it is used in threads.
        worker: Owns the models once they rank.
        metrics: Records how far behind the state is.
    """

    def __init__(self, log: EventLog, worker: ModelWorker, metrics: Metrics) -> None:
        self._log = log
        self._worker = worker
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None
        self._model: ServedModel | None = None
        self._changes: StateChanges | None = None
        self._after = BEGINNING
        self._heir: ServedModel | None = None
        self._since: list[StateChange] = []
        self._last_error = ""

    async def refresh(self, model: ServedModel) -> bool:
        """Follow the log for a model from now on.

        Returns:
            Whether it has another state than before: never.
        """
        if model is self._model:  # none takes its place, so nothing has to be kept for one
            self._heir, self._since = None, []
        elif model.state.features.learns:
            await cancel_and_wait(self._task)
            await self._begin(model)
            self._task = asyncio.create_task(self._run(model))
        return False

    async def hand_over(self, old: ServedModel, new: ServedModel) -> None:
        """Give a model that will replace the old one the old one's state, if it can read it."""
        self._heir, self._since = None, []
        if old is not self._model or not old.state.is_newer_than(new.state):
            return
        self._heir = new  # from now on changes are kept for it
        arrays = await self._worker.call(old.state.features.state)
        features = new.empty_state()
        await asyncio.to_thread(features.load, arrays)
        new.use_state(replace(old.state, features=features))

    async def close(self) -> None:
        """See `StateKeeper`."""
        await cancel_and_wait(self._task)

    async def _begin(self, model: ServedModel) -> None:
        """Go on where the model's state stands."""
        if model is self._heir and self._changes is not None:
            for change in self._since:
                await self._worker.call(partial(change.apply_to, model.state.features))
        else:
            self._start(model)
        self._model, self._heir, self._since = model, None, []

    def _start(self, model: ServedModel) -> None:
        """Read what the model's state does not know."""
        watermark_ms = model.state.watermark_ms
        self._after = BEGINNING if watermark_ms is None else EntryId(watermark_ms, LAST_NUMBER)
        self._changes = StateChanges(model.encoder, model.state.features.next_row)

    async def _run(self, model: ServedModel) -> None:
        while True:
            try:
                behind = await self._step(model)
            except StoreError as error:
                if str(error) != self._last_error:
                    logger.warning("features of the state stay as they are: %s", error)
                self._last_error = str(error)
                await asyncio.sleep(RETRY_S)
                continue
            except Exception as error:
                logger.exception("the log of events is followed anew from what the state knows: %r", error)
                await asyncio.sleep(RETRY_S)
                self._start(model)
                continue
            self._last_error = ""
            if not behind:
                await asyncio.sleep(TICK_S)

    async def _step(self, model: ServedModel) -> bool:
        """Take in the next entries; return whether there may be more."""
        assert self._changes is not None
        now_ms, entries = await asyncio.to_thread(self._read)
        behind = len(entries) == ENTRIES_PER_READ
        change = await asyncio.to_thread(self._changes.of, entries)
        if self._heir is not None:
            self._since.append(change)
        tick_ms = entries[-1].id.ms if behind else now_ms
        await self._worker.call(partial(_take_in, model, change, tick_ms, news=bool(entries)))
        if entries:
            self._after = entries[-1].id
        self._metrics.state_age((now_ms - tick_ms) / 1000)
        return behind

    def _read(self) -> tuple[int, list[Entry]]:
        now_ms = self._log.now_ms()  # before the entries: those that come later have a later time
        try:
            return now_ms, self._log.read(self._after, count=ENTRIES_PER_READ)
        except EventLogError as error:
            logger.error("%s; features of the state lack what they said", error)
            first = self._log.extent().first
            self._after = BEGINNING if first is None else first.previous()
            return now_ms, []


def _take_in(model: ServedModel, change: StateChange, tick_ms: int, *, news: bool) -> None:
    change.apply_to(model.state.features)
    model.state.features.advance(tick_ms)
    if news:
        model.use_state(replace(model.state, watermark_ms=tick_ms, version=None))
