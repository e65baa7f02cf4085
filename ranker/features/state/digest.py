"""Which feature states are alike: one may go on from another of the same digest."""

import hashlib
import json
from collections.abc import Sequence
from typing import Final

from ranker.features.kinds.learned import StateFeature
from ranker.features.kinds.parts import made_of
from ranker.labels.label import HEAD_KEYS, JOIN_KEYS
from ranker.spec import RankerSpec

FORMAT: Final = 1
"""Raised whenever the meaning of a saved array changes."""


def state_digest(spec: RankerSpec, followed: Sequence[StateFeature]) -> str:
    """Name what a feature state is made of: its features, their parts, the labels, and how ids are hashed.

    Args:
        spec: The ranker; its network and its other features do not matter.
        followed: Its features that learn from the stream.

    Returns:
        12 hexadecimal digits.
    """
    features = {feature.name: feature for feature in spec.features}
    described = {
        "format": FORMAT,
        "seed": spec.hash_seed,
        "features": [f.model_dump(mode="json", exclude=set(f.reading_keys)) for f in followed],
        "parts": {
            name: made_of(name, features).model_dump(
                mode="json", include=set(made_of(name, features).value_keys)
            )
            for name in sorted({name for feature in followed for name in feature.parts})
        },
        "labels": [
            label.model_dump(mode="json", exclude={*HEAD_KEYS, *JOIN_KEYS, "unit"}) for label in spec.feedback
        ],
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
