"""Progressive metrics of rows that were joined late, against river's delayed progressive validation."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from river import base, evaluate, metrics

from ranker.labels.label import Label
from tests.training.live_log import BEGAN_MS, LIVE_SPEC, WAIT_S, random_log, write
from training.sources import live as module
from training.sources.live import LiveSource
from training.trainer import Trainer


class Amounts(base.Regressor):
    """Predicts what a trainer has predicted of the same row, and notes in which order it is asked and told.

    Attributes:
        log: Rows, with whether their label came.
    """

    def __init__(self, predictions: list[float]) -> None:
        self.predictions = predictions
        self.log: list[tuple[int, bool]] = []

    def predict_one(self, x: dict[str, Any]) -> float:
        self.log.append((x["row"], False))
        return self.predictions[x["row"]]

    def learn_one(self, x: dict[str, Any], y: Any) -> None:
        self.log.append((x["row"], True))


class Chances(base.Classifier):
    """The same of chances."""

    def __init__(self, predictions: list[float]) -> None:
        self.predictions = predictions
        self.log: list[tuple[int, bool]] = []

    def predict_proba_one(self, x: dict[str, Any]) -> dict[bool, float]:
        self.log.append((x["row"], False))
        return {True: self.predictions[x["row"]], False: 1 - self.predictions[x["row"]]}

    def learn_one(self, x: dict[str, Any], y: Any) -> None:
        self.log.append((x["row"], True))


def test_they_are_those_of_river(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.001)
    write(client, random_log(120, seed=3))
    source = LiveSource(LIVE_SPEC, client, wait_s=WAIT_S, stop=lambda: False, flush_s=2.0)
    trainer = Trainer(LIVE_SPEC, seed=0)
    rows: list[tuple[int, list[float], list[float]]] = []
    for batch in source.records(16, until_ms=BEGAN_MS + 1_000_000):
        if batch.num_rows:
            result = trainer.step(batch)
            times = batch["time_ms"].to_pylist()
            rows += zip(times, result.predictions.tolist(), result.labels.tolist(), strict=True)

    trainer.learn_due(None)
    total = trainer.metrics.total()

    for column, task in enumerate(LIVE_SPEC.tasks):
        model, metric = _validated(rows, column, task)
        found = total[task.name]["log_loss" if task.is_probability else "rmse"]
        assert found == pytest.approx(metric.get(), rel=1e-9)
        assert found
        assert total[task.name]["rows"] == sum(told for _, told in model.log) > 20


def _validated(
    rows: list[tuple[int, list[float], list[float]]], column: int, task: Label
) -> tuple[Amounts | Chances, metrics.base.Metric]:
    """What river makes of a head's predictions, each of which is judged when its label is due."""
    predicted = [predictions[column] for _, predictions, _ in rows]
    model = Chances(predicted) if task.is_probability else Amounts(predicted)
    metric = metrics.LogLoss() if task.is_probability else metrics.RMSE()

    def dataset() -> Iterator[tuple[dict[str, Any], Any]]:
        for row, (time_ms, _, labels) in enumerate(rows):
            if not math.isnan(labels[column]):
                yield (
                    {"row": row, "ms": time_ms},
                    bool(labels[column]) if task.is_probability else labels[column],
                )

    delay_ms = round(1000 * max(WAIT_S, task.label_wait))
    evaluate.progressive_val_score(dataset(), model, metric, moment="ms", delay=delay_ms)
    asked = [row for row, told in model.log if not told]
    assert asked == sorted(asked)
    return model, metric
