"""The loop of training: a step for every batch, and other things done every so often.

A bounded run and an endless one share it: they differ in the source and in what is done, and how often.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import pyarrow as pa

from training.sources.base import Offset, SourceBatch
from training.trainer import Trainer

RECENT_ROWS: Final = 24
"""Examples that are kept to make golden requests of."""


class Every:
    """Something to do every so often.

    Args:
        action: What to do.
        rows: Do it as soon as this many rows were learned since the last time.
        seconds: Do it as soon as this much time has passed since the last time.
        event_ms: Do it as soon as this much event time has passed since the last time, in milliseconds.
        at_end: Do it once more when the source has no more rows.
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
        """Count from here on; what is due by the clock is due at once."""
        self._last_rows, self._last_event_ms = trainer.rows, trainer.watermark_ms

    def after_step(self, trainer: Trainer) -> None:
        """Do it if it is due."""
        if self._due(trainer):
            self._do(trainer)

    def finish(self, trainer: Trainer) -> None:
        """Do it if it is to be done at the end."""
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
    """Feeds batches to a trainer, and remembers how far it has come.

    Attributes:
        offset: The place in the source that follows what was learned; None before the first batch.
        recent: The last `RECENT_ROWS` examples that were learned; None before the first batch.

    Args:
        trainer: What learns.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.offset: Offset | None = None
        self.recent: pa.RecordBatch | None = None

    def run(self, batches: Iterable[SourceBatch], actions: Sequence[Every]) -> None:
        """Learn every batch, then do what is due, until the source ends.

        Args:
            batches: From the place after `offset` on.
            actions: What to do every so often, in this order.

        Raises:
            NonFiniteLossError: See `Trainer.step`; the loop stands before the batch.
        """
        for action in actions:
            action.start(self.trainer)
        for batch in batches:
            self.trainer.step(batch.records)
            self.offset = batch.offset
            self._remember(batch.records)
            for action in actions:
                action.after_step(self.trainer)
        for action in actions:
            action.finish(self.trainer)

    def _remember(self, records: pa.RecordBatch) -> None:
        if self.recent is not None and records.num_rows < RECENT_ROWS:
            records = pa.concat_batches([self.recent, records])
        self.recent = records.slice(max(0, records.num_rows - RECENT_ROWS))
