"""The training loop: a step per batch, and actions at intervals.

A bounded run and an endless one share the loop and differ in the source and the actions.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import pyarrow as pa

from training.listener import StepListener
from training.sources.base import Offset, SourceBatch
from training.trainer import Trainer

RECENT_ROWS: Final = 24
"""Examples that are kept for golden requests."""


class Every:
    """An action at intervals; it is due when any of its intervals has passed.

    Args:
        action: The action.
        rows: Interval in rows learned, 0 for every batch; None for no such interval.
        seconds: Interval in seconds; None for no such interval.
        event_ms: Interval in milliseconds of event time; None for no such interval.
        at_end: Whether the action is also done when the source ends, or the loop is stopped.
    """

    def __init__(
        self,
        action: Callable[[], None],
        *,
        rows: int | None = None,
        seconds: float | None = None,
        event_ms: int | None = None,
        at_end: bool = False,
    ) -> None:
        self._action = action
        self._rows = rows
        self._seconds = seconds
        self._event_ms = event_ms
        self._at_end = at_end
        self._last_rows = 0
        self._last_s = float("-inf")
        self._last_event_ms: int | None = None

    def start(self, trainer: Trainer) -> None:
        """Begin the intervals; an action with `seconds` is due at once."""
        self._last_rows, self._last_event_ms = trainer.rows, trainer.watermark_ms

    def after_step(self, trainer: Trainer) -> None:
        """Do the action if it is due."""
        if self._due(trainer):
            self._do(trainer)

    def finish(self, trainer: Trainer) -> None:
        """Do the action if it has `at_end`."""
        if self._at_end:
            self._do(trainer)

    def _due(self, trainer: Trainer) -> bool:
        if self._rows is not None and trainer.rows - self._last_rows >= self._rows:
            return True
        if self._seconds is not None and time.monotonic() - self._last_s >= self._seconds:
            return True
        if self._event_ms is None or trainer.watermark_ms is None:
            return False
        if self._last_event_ms is None:  # event time begins with the first batch
            self._last_event_ms = trainer.watermark_ms
        return trainer.watermark_ms - self._last_event_ms >= self._event_ms

    def _do(self, trainer: Trainer) -> None:
        self._action()
        self._last_rows, self._last_event_ms = trainer.rows, trainer.watermark_ms
        self._last_s = time.monotonic()


class TrainingLoop:
    """Feeds batches to a trainer, and keeps the offset after them.

    Args:
        trainer: The trainer.

    Attributes:
        offset: Offset after the last batch that was learned; None before the first one.
        reached: Offset after the last batch, which may have had no rows; None before it.
        recent: The last `RECENT_ROWS` examples that were learned, or fewer after the log's schema has
            changed; None before the first batch.
        listeners: Told of each step, by the names of their parts of a checkpoint.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.offset: Offset | None = None
        self.reached: Offset | None = None
        self.recent: pa.RecordBatch | None = None
        self.listeners: dict[str, StepListener] = {}

    def run(
        self,
        batches: Iterable[SourceBatch],
        actions: Sequence[Every],
        *,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Learn every batch and do the actions that are due, until the source ends or the loop is to stop.

        Args:
            batches: The batches after `offset`.
            actions: The actions, in the order in which they are done.
            stop: Asked after each step whether it was the last one.

        Raises:
            NonFiniteLossError: See `Trainer.step`; `offset` is still the one before the batch.
        """
        for action in actions:
            action.start(self.trainer)
        for batch in batches:
            if batch.records.num_rows:
                result = self.trainer.step(batch.records, arrived=batch.arrived)
                for listener in self.listeners.values():
                    listener.after_step(batch.records, result)
                self._remember(batch.records)
                self.offset = batch.offset
            self.reached = batch.offset
            for action in actions:
                action.after_step(self.trainer)
            if stop():
                break
        for action in actions:
            action.finish(self.trainer)

    def _remember(self, records: pa.RecordBatch) -> None:
        short = records.num_rows < RECENT_ROWS
        if short and self.recent is not None and self.recent.schema.equals(records.schema):
            records = pa.concat_batches([self.recent, records])
        self.recent = records.slice(max(0, records.num_rows - RECENT_ROWS))
