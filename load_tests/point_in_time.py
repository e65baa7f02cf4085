"""Test that features that learn are point in time, with labels that only the future tells.

A viewer has one or two impressions, and their label is a coin thrown for the viewer. So no earlier feedback
tells the label, unless the state lets a row see its own feedback, that of an impression at the same
millisecond, or that of an earlier one which has not arrived yet. Every world with an honest state has a twin
whose state leaks, which shows that the model would use what leaks.

`python -m load_tests.point_in_time` prints the AUC of both; `tests/integration/test_point_in_time.py` asserts
that the honest one is at chance.
"""

import argparse
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import torch

from ranker.labels.matrix import label_matrix
from ranker.metrics.intervals import Interval, auc_interval
from ranker.spec import RankerSpec
from ranker.spec_file import parse_spec
from training.trainer import Trainer

SPEC: Final = parse_spec(
    """
name: point_in_time
features:
  - {name: user_id, side: user, kind: id, buckets: 1, dim: 1}  # weights cannot tell viewers apart
  - {name: video_id, side: candidate, kind: id, buckets: 32, dim: 4}
  - {name: user_rates, kind: rate, of: [user_id], labels: [click], half_lives: [1h, 7d], prior_strength: 1}
  - {name: user_age, kind: age, of: [user_id]}
  - {name: shown, kind: history, of: video_id, length: 2}
  - {name: clicked, kind: history, of: video_id, label: click, length: 2}
tasks:
  - {name: click, group: engagement, kind: binary}
network: {kind: shared_bottom, shared: [16], tower: [8]}
training: {batch_size: 128, learning_rate: 0.005}
score: {terms: [{head: click}]}
""",
    where="point_in_time.py",
)
VIEWERS: Final = 5_000
A_MS: Final = 0.001
"""A millisecond in seconds."""


def main() -> None:
    """Measure every world and print the figures."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    for name in HONEST:
        for kind, worlds in (("honest", HONEST), ("leaking", LEAKING)):
            found = measure(worlds[name])
            for what, auc in (("progressive", found.progressive), ("held out", found.held_out)):
                print(f"{name}, {kind}, {what}: {auc.estimate:.3f} [{auc.low:.3f}, {auc.high:.3f}]")


@dataclass(frozen=True)
class World:
    """A log of impressions, and the delay of their feedback.

    Attributes:
        impressions: Impressions per viewer.
        gap_ms: Time between a viewer's impressions.
        wait_s: The task's `label_wait`; a negative one lets a row see its own label.
    """

    impressions: int
    gap_ms: int
    wait_s: float

    @property
    def spec(self) -> RankerSpec:
        """The spec with this wait; a spec file would be refused if it is negative."""
        tasks = tuple(task.model_copy(update={"label_wait": self.wait_s}) for task in SPEC.tasks)
        return SPEC.model_copy(update={"tasks": tasks})

    def log(self, seed: int = 0) -> pa.Table:
        """All impressions in temporal order."""
        random = np.random.default_rng(seed)
        arrival_ms = 1_700_000_000_000 + np.cumsum(random.integers(1, 10_000, VIEWERS))
        labels = random.permutation(np.arange(VIEWERS) % 2).astype(np.float32)
        viewer = np.tile(np.arange(VIEWERS), self.impressions)
        time_ms = arrival_ms[viewer] + np.repeat(np.arange(self.impressions), VIEWERS) * self.gap_ms
        order = np.argsort(time_ms, kind="stable")
        return pa.table(
            {
                "time_ms": time_ms[order],
                "user_id": viewer[order],
                "video_id": random.integers(0, 20, len(order)),
                "click": labels[viewer[order]],
            }
        )


@dataclass(frozen=True)
class Figures:
    """Area under the ROC curve, with its interval over viewers.

    Attributes:
        progressive: Of the second and third quarter, each row predicted before it was learned.
        held_out: Of the last quarter, with weights that never saw it and a state that does.
    """

    progressive: Interval
    held_out: Interval


HONEST: Final = {
    "its own feedback": World(impressions=1, gap_ms=0, wait_s=0),
    "feedback of the same millisecond": World(impressions=2, gap_ms=0, wait_s=0),
    "feedback that has not arrived": World(impressions=2, gap_ms=30_000, wait_s=60),
}
LEAKING: Final = {
    "its own feedback": replace(HONEST["its own feedback"], wait_s=-A_MS),
    "feedback of the same millisecond": replace(HONEST["feedback of the same millisecond"], gap_ms=1),
    "feedback that has not arrived": replace(HONEST["feedback that has not arrived"], wait_s=0),
}


def measure(world: World) -> Figures:
    """Train on the first three quarters of a world's log, in temporal order, and predict the last."""
    log, trainer = world.log(), Trainer(world.spec, seed=0)
    rows = log.num_rows
    size = trainer.spec.training.batch_size
    seen = [trainer.step(batch).predictions[:, 0] for batch in log.slice(0, rows * 3 // 4).to_batches(size)]
    fresh = []
    with torch.inference_mode(), trainer.exported():
        for batch in log.slice(rows * 3 // 4).to_batches(size):
            encoded = trainer.encoder.encode_examples(
                batch, labels=label_matrix(batch, trainer.spec.feedback)
            )
            fresh.append(trainer.model(encoded)[:, 0].double().numpy())
    quarter = rows // 4
    predicted = np.concatenate(seen)
    return Figures(
        progressive=_auc(log.slice(quarter, len(predicted) - quarter), predicted[quarter:]),
        held_out=_auc(log.slice(len(predicted)), np.concatenate(fresh)),
    )


def _auc(log: pa.Table, scores: np.ndarray) -> Interval:
    columns = {name: log.column(name).to_numpy() for name in ("click", "user_id")}
    return auc_interval(columns["click"].astype(np.float64), scores, columns["user_id"], replicates=300)


if __name__ == "__main__":
    main()
