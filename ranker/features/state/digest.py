"""Which feature states are alike: one may go on from another of the same digest."""

import hashlib
import json
from typing import Final

from ranker.features.kinds.learned import HistoryFeature
from ranker.features.layout import Layout
from ranker.labels.label import HEAD_KEYS
from ranker.spec import RankerSpec

FORMAT: Final = 1
"""Raised whenever the meaning of a saved array changes."""


def state_digest(spec: RankerSpec, layout: Layout) -> str:
    """Name what a feature state is made of: its features, their parts, the labels, and how ids are hashed.

    Args:
        spec: The ranker; its network and its other features do not matter.
        layout: Of the spec.

    Returns:
        12 hexadecimal digits.
    """
    kept = [feature for feature in spec.state_features if isinstance(feature, HistoryFeature) or feature.of]
    names = {name for f in kept for name in ([f.of] if isinstance(f, HistoryFeature) else f.of)}
    described = {
        "format": FORMAT,
        "seed": spec.hash_seed,
        "features": [f.model_dump(mode="json", exclude={"strength", "toward", "pool"}) for f in kept],
        "parts": {
            name: layout.feature(name).model_dump(
                mode="json", include={"kind", "column", "max_items", "edges"}
            )
            for name in sorted(names)
        },
        "labels": [label.model_dump(mode="json", exclude={*HEAD_KEYS, "unit"}) for label in spec.feedback],
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
