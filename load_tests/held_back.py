"""What the gate does with sound and with poisoned bundles, in the simulated world.

python -m load_tests.held_back            # two days to begin with, then a bundle every two hours of a day
python -m load_tests.held_back --quick    # half a day, then a bundle every four hours

Every world begins alike and goes on with the same rows. In `undisturbed` nothing is changed. In `shifted`,
each third bundle is exported with 5 added to the logit of `click`. In `shuffled`, the labels of some hours in
the middle are those of other rows of their batch.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ranker.bundles.registry import Registry
from ranker.event_times import time_text
from ranker.events import TIME_MS
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec
from training.checkpoint import RunIdentity
from training.gate.judge import judge, summary
from training.gate.window import Window
from training.loop import TrainingLoop
from training.publish import publish
from training.sources.base import SourceBatch
from training.sources.simulated.population import EPOCH_MS, HOUR_MS
from training.sources.simulated.source import SimulatedSource
from training.trainer import Trainer

SHIFT = 5.0
CASES = ("undisturbed", "shifted", "shuffled")


@dataclass(frozen=True)
class Scale:
    """How much is simulated: hours before the first bundle, hours in all, hours between two bundles."""

    begin: int
    end: int
    every: int

    def is_poisoned(self, time_ms: int) -> bool:
        """Whether labels of this time are shuffled: two intervals in the middle."""
        hour = (time_ms - EPOCH_MS) / HOUR_MS
        middle = self.begin + self.every * ((self.end - self.begin) // (2 * self.every))
        return middle <= hour < middle + 2 * self.every


@dataclass(frozen=True)
class Decision:
    """What became of a bundle."""

    until: str
    poisoned: bool
    passed: bool
    reasons: tuple[str, ...]
    compared: str


def decisions(case: str, scale: Scale, registry: Registry) -> Iterator[Decision]:
    """Train one world, and ask the gate about each bundle."""
    spec = load_spec("simulated")
    loop, window = TrainingLoop(Trainer(spec, seed=0)), Window.of(spec.training.gate)
    loop.listeners["gate"] = window
    source = SimulatedSource(days=-(-scale.end // 24))
    run = RunIdentity.of(spec, source=source.name, since_ms=None, until_ms=None, seed=0)
    next_ms, number, poisoned = EPOCH_MS + scale.begin * HOUR_MS, 0, False
    for batch in source.batches(spec.training.batch_size, until_ms=EPOCH_MS + scale.end * HOUR_MS):
        records = batch.records
        time_ms = records.column(TIME_MS)[-1].as_py()
        if time_ms >= next_ms:
            next_ms += scale.every * HOUR_MS
            number += 1
            shifted = case == "shifted" and number % 3 == 0
            _shift(loop.trainer, spec, SHIFT if shifted else 0.0)
            verdict = judge(loop.trainer, window, registry)
            publish(loop, registry, run, verdict)
            _shift(loop.trainer, spec, 0.0)
            yield Decision(
                time_text(time_ms), poisoned or shifted, verdict.passed, verdict.reasons, summary(verdict)
            )
            poisoned = False
        if case == "shuffled" and scale.is_poisoned(time_ms):
            records, poisoned = _shuffled(records, spec), True
        loop.run([SourceBatch(records, batch.offset)], [])


def _shift(trainer: Trainer, spec: RankerSpec, logits: float) -> None:
    """Let exported heads have something added to the first one's output."""
    of_correction = type(trainer.correction).shifts

    def shifts() -> np.ndarray:
        return of_correction(trainer.correction) + logits * (np.arange(len(spec.tasks)) == 0)

    trainer.correction.shifts = shifts  # type: ignore[method-assign]


def _shuffled(records: pa.RecordBatch, spec: RankerSpec) -> pa.RecordBatch:
    order = pa.array(np.random.default_rng(records.num_rows).permutation(records.num_rows))
    labels = {label.source_column for label in spec.feedback}
    columns = [
        column.take(order) if name in labels else column
        for name, column in zip(records.schema.names, records.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=records.schema)


def main() -> None:
    """Print what was decided, and why."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--case", choices=CASES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    scale = Scale(12, 36, 4) if arguments.quick else Scale(48, 72, 2)
    for case in [arguments.case] if arguments.case else CASES:
        with tempfile.TemporaryDirectory() as folder:
            for found in decisions(case, scale, Registry(str(Path(folder)))):
                if arguments.json:
                    print(json.dumps({"case": case, **asdict(found)}))
                    continue
                what = "published" if found.passed else "HELD BACK"
                print(f"{case}: {what} up to {found.until}{' (poisoned)' if found.poisoned else ''}")
                for line in (*found.reasons, f"({found.compared})"):
                    print(f"    {line}")


if __name__ == "__main__":
    main()
