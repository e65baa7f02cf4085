"""Rows for watchdogs, as a trainer's listeners get them, without a trainer."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from ranker.features.encoder import Encoder
from ranker.labels.matrix import label_matrix
from ranker.spec_file import parse_spec
from training.gate.window import Window, WindowRows
from training.trainer import StepResult
from training.watch.columns import HOUR_MS, ColumnHistograms

SPEC = parse_spec(
    """
name: watched
features:
  - {name: user_id, side: user, kind: id, buckets: 64, dim: 4}
  - {name: hour, side: context, kind: category, capacity: 24, dim: 4}
  - {name: topic, side: candidate, kind: category, capacity: 8, dim: 4}
  - {name: tags, side: candidate, kind: ids, buckets: 64, dim: 4}
  - {name: length, side: candidate, kind: number}
  - {name: seldom, side: candidate, kind: number}
tasks:
  - {name: click, group: engagement, kind: binary}
  - {name: stars, group: satisfaction, kind: regression}
score: {terms: [{head: click}]}
""",
    where="rows.py",
)
ROWS = 800
"""Rows of an hour."""
NAMES = ("news", "music", "sport", "cars")


def hour_of_rows(hour: int, **changed: Any) -> pa.RecordBatch:
    """The rows of an hour since 1970, with columns replaced by lists or by what a function makes of them."""
    draw = np.random.default_rng(hour)
    columns: dict[str, Any] = {
        "time_ms": hour * HOUR_MS + np.sort(draw.integers(0, HOUR_MS, ROWS)),
        "user_id": draw.integers(0, 300, ROWS),
        "hour": np.full(ROWS, hour % 24),
        "topic": draw.choice(NAMES, ROWS).tolist(),
        "tags": [["a", "b"][: draw.integers(0, 3)] for _ in range(ROWS)],
        "length": draw.normal(60, 20, ROWS).tolist(),
        "seldom": [1.0 if draw.random() < 0.02 else None for _ in range(ROWS)],
        "click": (draw.random(ROWS) < 0.3).astype(float),
        "stars": [4.0 if draw.random() < 0.3 else None for _ in range(ROWS)],
    }
    for name, change in changed.items():
        columns[name] = change(columns[name]) if callable(change) else change
    schema = {"seldom": pa.float64(), "length": pa.float64(), "topic": pa.string()}
    return pa.RecordBatch.from_pydict(
        {name: pa.array(values, schema.get(name)) for name, values in columns.items()}
    )


class Watched:
    """What the listeners know after some hours; predictions are what a function makes of labels."""

    def __init__(self) -> None:
        self._encoder = Encoder(SPEC)
        self.histograms = ColumnHistograms(self._encoder.example_records)
        self.window = Window(1_000)

    def take(self, batches: Iterator[pa.RecordBatch] | list[pa.RecordBatch]) -> None:
        for records in batches:
            labels = label_matrix(records, SPEC.tasks)
            examples = self._encoder.read_examples(records)
            predictions = np.tile([0.3, 4.0], (records.num_rows, 1))
            result = StepResult(loss=0.0, predictions=predictions, labels=labels, examples=examples)
            self.histograms.after_step(records, result)
            self.window.after_step(records, result)

    @property
    def rows(self) -> WindowRows:
        rows = self.window.rows()
        assert rows is not None
        return rows
