"""Encoders of a single feature, and all that an encoder gives."""

from typing import Any

import pyarrow as pa
import torch

from ranker.features.batch import Encoded
from ranker.features.encoder import Encoder
from ranker.features.sides import Group
from ranker.spec import RankerSpec

ONE_OF_EACH: dict[str, dict[str, Any]] = {
    "id": {"kind": "id", "buckets": 8, "dim": 2},
    "ids": {"kind": "ids", "buckets": 8, "dim": 2, "max_items": 1000},
    "given": {"kind": "category", "values": ["a", "b"], "dim": 2},
    "learned": {"kind": "category", "capacity": 2, "dim": 2},
    "number": {"kind": "number"},
}


def alone(kind: str, side: str = "candidate") -> Encoder:
    """An encoder of one feature `x`."""
    spec = RankerSpec.model_validate(
        {
            "name": "alone",
            "features": [{"name": "x", "side": side, **ONE_OF_EACH[kind]}],
            "tasks": [{"name": "click", "group": "engagement", "kind": "binary"}],
            "score": {"terms": [{"head": "click"}]},
        }
    )
    return Encoder(spec)


def rows(encoder: Encoder, values: list[Any], *, observe: bool = False) -> list[int]:
    """The table rows of a column of single values."""
    encoded = encoder.encode_examples(pa.RecordBatch.from_pydict({"x": values}), observe=observe)
    found: list[int] = encoded.groups[Group.CANDIDATE].singles[2][:, 0].tolist()
    return found


def everything(encoded: Encoded) -> list[torch.Tensor]:
    parts = [encoded.bias] if encoded.bias is not None else []
    for inputs in encoded.groups.values():
        parts += [*inputs.singles.values(), inputs.numbers]
        parts += [part for bag in inputs.bags for part in (bag.rows, bag.offsets)]
        for a in inputs.attended:
            parts += [a.entries, a.ages, a.there, a.history, a.candidates]
    return parts
