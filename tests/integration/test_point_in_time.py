"""Whether a model can learn from what was not yet known: labels are planted that only the future tells.

Every viewer of the log is there for one or two impressions, whose label is a coin thrown for the viewer. So
nothing of a viewer's past tells the label, unless the state lets a row see its own feedback, that of an
impression at the same millisecond, or that of an earlier one which has not arrived yet.

`python -m tests.integration.test_point_in_time` prints the figures.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pytest
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
    where="test_point_in_time.py",
)
VIEWERS: Final = 5_000
A_MS: Final = 0.001
"""A millisecond in seconds."""


@dataclass(frozen=True)
class World:
    """How viewers are shown videos, and when their feedback counts as known.

    Attributes:
        impressions: Of each viewer.
        gap_ms: Between a viewer's impressions.
        wait_s: The task's `label_wait`; a negative one gives a row its own label away.
    """

    impressions: int
    gap_ms: int
    wait_s: float

    @property
    def spec(self) -> RankerSpec:
        """With the wait, which no spec file may have if it is negative."""
        tasks = tuple(task.model_copy(update={"label_wait": self.wait_s}) for task in SPEC.tasks)
        return SPEC.model_copy(update={"tasks": tasks})

    def log(self, seed: int = 0) -> pa.Table:
        """All impressions in the order of their times."""
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
        progressive: Of rows predicted before they were learned from, but for the first quarter.
        held_out: Of the last quarter, with weights that never saw it and a state that goes on.
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
    """Train once through the log, in the order of time."""
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


@pytest.mark.parametrize("planted", HONEST)
def test_what_was_not_known_at_the_time_tells_the_model_nothing(planted: str) -> None:
    figures = measure(HONEST[planted])

    for found in (figures.progressive, figures.held_out):
        assert found.low < 0.5 < found.high


@pytest.mark.parametrize("planted", LEAKING)
def test_the_same_model_does_use_it_where_the_state_gives_it_away(planted: str) -> None:
    figures = measure(LEAKING[planted])

    for found in (figures.progressive, figures.held_out):
        assert found.low > 0.65


def _auc(log: pa.Table, scores: np.ndarray) -> Interval:
    columns = {name: log.column(name).to_numpy() for name in ("click", "user_id")}
    return auc_interval(columns["click"].astype(np.float64), scores, columns["user_id"], replicates=300)


if __name__ == "__main__":
    for name in HONEST:
        for kind, worlds in (("honest", HONEST), ("leaking", LEAKING)):
            found = measure(worlds[name])
            for what, auc in (("progressive", found.progressive), ("held out", found.held_out)):
                print(f"{name}, {kind}, {what}: {auc.estimate:.3f} [{auc.low:.3f}, {auc.high:.3f}]")
