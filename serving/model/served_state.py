"""The feature state that a model ranks with."""

from dataclasses import dataclass

import numpy as np

from ranker.features.kinds.id import VIEWER
from ranker.features.layout import Layout
from ranker.features.record import RecordLayout
from ranker.features.sides import Side
from ranker.features.state.feature_state import FeatureState
from ranker.spec import RankerSpec


@dataclass(frozen=True)
class ServedState:
    """A state, and how new it is.

    Attributes:
        features: The state; while a model ranks with it, only the model's thread may change it.
        watermark_ms: Event time of the newest row that it has seen; None if there was none.
        version: Of the feature store's; None for one that came with a bundle.
        passed_over: Version of the store's newest when this one was preferred to it; None if there was none.
    """

    features: FeatureState
    watermark_ms: int | None
    version: str | None = None
    passed_over: str | None = None

    def succeeds(self, other: "ServedState") -> bool:
        """Whether this one is newer than another one, and its arrays are of the same kind."""
        if self.features.digest != other.features.digest or self.watermark_ms is None:
            return False
        return other.watermark_ms is None or self.watermark_ms > other.watermark_ms


def compile_learning(spec: RankerSpec, layout: Layout) -> None:
    """Learn from a row of which nothing is known, so that no code has to be compiled while somebody waits.

    Args:
        spec: Of the state.
        layout: Of the spec.
    """
    state = FeatureState(spec, layout)
    records = RecordLayout((*spec.side(*Side), VIEWER), seed=spec.hash_seed)
    words, times = records.missing(1), np.zeros(1, np.int64)
    state.observe(words, records, times)
    state.learn(words, records, times, np.full((1, len(spec.feedback)), np.nan, np.float32))
