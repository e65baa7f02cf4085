"""A small spec to train, and examples of clicks that can be learned."""

import numpy as np
import pyarrow as pa
import torch

from ranker.spec import RankerSpec
from ranker.spec_file import parse_spec
from training.trainer import Trainer

CALM = {"gate_dropout": 0.0, "position_dropout": 0.0}
TOY_SPEC = parse_spec(
    """
name: toy
features:
  - {name: user_id, side: user, kind: id, buckets: 64, dim: 4}
  - {name: video_id, side: candidate, kind: id, buckets: 64, dim: 4}
  - {name: length, side: candidate, kind: number}
tasks:
  - {name: click, group: engagement, kind: binary}
  - {name: watch_time, group: engagement, kind: regression, transform: log1p, unit: s}
network: {shared: [16], experts: 2, expert: [8], tower: [4]}
training: {learning_rate: 0.01, embedding_learning_rate: 0.2}
score: {terms: [{head: click}]}
""",
    where="TOY_SPEC",
)


def toy_batch(seed: int, rows: int = 256) -> pa.RecordBatch:
    """Clicks that depend on the video, and on the length that the viewer does not look at."""
    random = np.random.default_rng(seed)
    video, length = random.integers(0, 40, rows), random.normal(size=rows)
    chance = 1 / (1 + np.exp(-(np.where(video % 2, 1.5, -1.5) + length)))
    return pa.RecordBatch.from_pydict(
        {
            "time_ms": np.arange(seed * rows, (seed + 1) * rows),
            "user_id": random.integers(0, 20, rows),
            "video_id": video,
            "length": length,
            "click": (random.random(rows) < chance).astype(np.int8),
            "watch_time": random.exponential(20, rows),
        }
    )


def with_column(batch: pa.RecordBatch, name: str, values: object) -> pa.RecordBatch:
    column = values if isinstance(values, pa.Array) else pa.array(values)
    if name in batch.schema.names:
        return batch.set_column(batch.schema.get_field_index(name), name, column)
    return batch.append_column(name, column)


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def calm(spec: RankerSpec) -> RankerSpec:
    return spec.model_copy(update={"network": spec.network.model_copy(update=CALM)})
