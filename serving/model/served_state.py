"""The feature state that a model ranks with."""

from dataclasses import dataclass

import numpy as np

from ranker.events import USER_ID, VIDEO_ID
from ranker.features.encoder import Encoder
from ranker.features.forgetting import Beside
from ranker.features.state.feature_state import FeatureState
from ranker.spec import RankerSpec


@dataclass(frozen=True)
class ServedState:
    """A feature state, and how recent it is.

    Attributes:
        features: The state; while a model ranks with it, only the model's thread may change it.
        watermark_ms: Event time of the newest row that it has seen; None if it has seen none.
        version: Its version in the feature store; None for a state that came with a bundle.
        rejected_version: Version of the store's newest state when this one was preferred to it; None if the
            store had none.
    """

    features: FeatureState
    watermark_ms: int | None
    version: str | None = None
    rejected_version: str | None = None

    def is_newer_than(self, other: "ServedState") -> bool:
        """Whether this state has seen a later row than another, and has arrays of the same format."""
        if self.features.digest != other.features.digest or self.watermark_ms is None:
            return False
        return other.watermark_ms is None or self.watermark_ms > other.watermark_ms


def compile_changes(spec: RankerSpec) -> None:
    """Compile the loops that learn and forget, by learning, and forgetting, one row of missing values.

    Otherwise the first request whose model learns, and all requests at the first deletion, would wait for the
    compiler: three seconds, and 25 MB.

    Args:
        spec: Names the features.
    """
    encoder = Encoder(spec)
    state, records = encoder.feature_state, encoder.example_records
    words, times = records.missing(1), np.zeros(1, np.int64)
    state.observe(words, records, times)
    state.learn(words, records, times, np.full((1, len(spec.feedback)), np.nan, np.float32))
    for column in (USER_ID, VIDEO_ID):
        encoder.forget(column, "nobody", Beside(words, records))
        encoder.forget_row(column, "nobody")
