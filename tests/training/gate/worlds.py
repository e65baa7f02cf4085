"""A world of many viewers that is learned in a second, and a trainer in it."""

from typing import Any

import numpy as np
import pyarrow as pa

from ranker.spec import RankerSpec
from tests.training.toy import TOY_SPEC, toy_batch, with_column
from training.checkpoint import RunIdentity
from training.gate.window import Window
from training.loop import TrainingLoop
from training.sources.base import SourceBatch
from training.trainer import Trainer

SPEC = TOY_SPEC.model_copy(update={"training": TOY_SPEC.training.model_copy(update={"weight_average": 0.9})})
"""The toy spec; its runs are settled after ten steps."""
RUN = RunIdentity.of(SPEC, source="toy", since_ms=None, until_ms=None, seed=0)


def batch(number: int, *, shuffled: bool = False, never: str | None = None) -> pa.RecordBatch:
    """256 rows of 100 viewers, later than those of a lower number; labels may be of other rows."""
    records = toy_batch(number)
    random = np.random.default_rng(number)
    records = with_column(records, "user_id", random.integers(0, 100, records.num_rows))
    if shuffled:
        order = random.permutation(records.num_rows)
        for name in ("click", "watch_time"):
            records = with_column(records, name, records.column(name).take(pa.array(order)))
    if never is not None:
        records = with_column(records, never, np.zeros(records.num_rows))
    return records


class World:
    """A loop with a window; `learn` goes on with the next batches."""

    def __init__(self, spec: RankerSpec = SPEC) -> None:
        self.loop = TrainingLoop(Trainer(spec, seed=0))
        self.window = Window.of(spec.training.gate)
        self.loop.listeners["gate"] = self.window
        self._next = 0

    def learn(self, batches: int, **how: Any) -> None:
        numbers = range(self._next, self._next + batches)
        self._next += batches
        self.loop.run((SourceBatch(batch(n, **how), {}) for n in numbers), [])
