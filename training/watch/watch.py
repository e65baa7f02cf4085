"""The watchdogs of a trainer that follows the log of events: they look now and then, and say what is amiss.

Looking changes nothing: what is learned and published does not depend on it.
"""

import logging
import math
import time

import numpy as np
import redis
from numpy.typing import NDArray

from ranker.errors import StoreError
from ranker.features.sides import Group
from ranker.store.reports import Alarm, TrainerReport, write_report
from training.gate.window import Window, WindowRows
from training.publisher import Publisher
from training.trainer import Trainer
from training.watch.columns import ColumnHistograms, column_figures
from training.watch.feedback import head_calibration, silence
from training.watch.gate_use import gate_alarm, gate_use

logger = logging.getLogger(__name__)

LOOK_S = 10.0
"""How often the watchdogs look, also while nothing is learned."""
GATE_ROWS = 1_000
"""The newest rows, of which gates are looked at."""


class Watch:
    """Looks at a trainer and its newest rows.

    Args:
        trainer: The trainer.
        window: Its newest rows.
        histograms: What columns held.
        publisher: Knows what was published.
        client: Of the Redis that gets the reports.
        name: The trainer's: the spec's name.
    """

    def __init__(
        self,
        trainer: Trainer,
        window: Window,
        histograms: ColumnHistograms,
        publisher: Publisher,
        client: redis.Redis,
        name: str,
    ) -> None:
        self._trainer = trainer
        self._window = window
        self._histograms = histograms
        self._publisher = publisher
        self._client = client
        self._name = name
        self._raised: dict[tuple[str, str], Alarm] = {}
        self._looked_s = -math.inf

    def look_now_and_then(self) -> None:
        """Look if it has not been done for `LOOK_S`."""
        if time.monotonic() - self._looked_s >= LOOK_S:
            self.look()

    def look(self, *, ended: bool = False) -> None:
        """Look, write what begins and ends to the log, and the whole to Redis if it answers.

        Args:
            ended: Whether this is the last time, as the trainer was stopped.
        """
        self._looked_s = time.monotonic()
        report = self.report().model_copy(update={"ended": ended})
        alarms = {(alarm.kind, alarm.about): alarm for alarm in report.alarms}
        for key, alarm in alarms.items():
            if key not in self._raised:
                logger.warning("ALARM: %s", alarm)
        for key, alarm in self._raised.items():
            if key not in alarms:
                logger.info("no alarm any more: %s, %s", alarm.kind, alarm.about)
        self._raised = alarms
        try:
            write_report(self._client, self._name, report)
        except StoreError as error:
            logger.debug("nobody is told how the trainer stands: %s", error)

    def report(self) -> TrainerReport:
        """How the trainer stands."""
        trainer, rows = self._trainer, self._window.rows()
        heads: dict[str, dict[str, float | None]] = {task.name: {} for task in trainer.spec.tasks}
        columns: dict[str, dict[str, float | None]] = {}
        alarms: list[Alarm] = []
        if rows is not None:
            alarms += self._look_at_heads(rows, heads)
            columns, of_columns = column_figures(self._histograms, rows)
            alarms += of_columns
            positives = {name: found.get("positives") for name, found in trainer.metrics.total().items()}
            alarms += [alarm for alarm in [silence(rows, positives)] if alarm is not None]
        published, held_back = self._publisher.published, self._publisher.held_back
        return TrainerReport(
            at_ms=time.time_ns() // 1_000_000,
            model_version=None if published is None else published.version,
            watermark_ms=None if published is None else published.watermark_ms,
            rows=trainer.rows,
            learned_ms=trainer.watermark_ms,
            held_back=() if held_back is None else held_back.held_back,
            held_back_version=None if held_back is None else held_back.version,
            heads=heads,
            columns=columns,
            alarms=tuple(alarms),
        )

    def _look_at_heads(self, rows: WindowRows, heads: dict[str, dict[str, float | None]]) -> list[Alarm]:
        trainer, alarms = self._trainer, []
        newest = rows.newest(GATE_ROWS)
        with trainer.exported():
            known = newest.known()
            encoded = trainer.encoder.read_words(newest.words, {group: known[group] for group in Group})
            uses = gate_use(trainer.model, encoded)
            exported = self._exported(rows)
        for task, use in zip(trainer.spec.tasks, uses, strict=False):
            heads[task.name] |= {"gate_entropy": use.entropy, "top_expert": use.top_share}
            alarms += [alarm for alarm in [gate_alarm(task.name, use)] if alarm is not None]
        ratios, drifted = head_calibration(trainer.spec.tasks, rows, exported)
        for name, ratio in ratios.items():
            heads[name]["calibration"] = ratio
        return alarms + drifted

    def _exported(self, rows: WindowRows) -> NDArray[np.float64]:
        """Predictions as they would be exported; of no meaning if no head needs them."""
        if all(task.is_probability for task in self._trainer.spec.tasks):
            return rows.predictions
        return rows.predicted_by(self._trainer.encoder, self._trainer.model)
