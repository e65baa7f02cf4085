"""The small spec with histories that candidates attend to, and an encoder that knows some."""

from typing import Any

import numpy as np

from ranker.features.encoder import Encoder
from ranker.features.kinds.history import HistoryFeature
from ranker.spec import RankerSpec
from tests.ranker.small_spec import random_records, small_spec

NOW_MS = 1_700_000_900_000
"""After everything that `attending_encoder` has seen."""
HISTORIES = (
    HistoryFeature(kind="history", name="clicked", of="video_id", label="click", length=6, pool="attention"),
    HistoryFeature(kind="history", name="shown", of="video_id", length=4, pool="attention"),
    HistoryFeature(kind="history", name="liked", of="video_id", label="like", length=5),
)


def attending_spec(**network: Any) -> RankerSpec:
    """The small spec with two histories that are attended to and a mean-pooled one."""
    spec = small_spec(**network)
    return spec.model_copy(update={"features": (*spec.features, *HISTORIES)})


def attending_encoder(spec: RankerSpec) -> Encoder:
    """An encoder that has seen a hundred rows of twenty viewers with their feedback."""
    records = random_records(100, seed=1)
    encoder = Encoder(spec)
    labels = np.random.default_rng(1).integers(0, 2, (100, len(spec.tasks))).astype(np.float32)
    encoder.encode_examples(records, observe=True, labels=labels)
    return encoder
