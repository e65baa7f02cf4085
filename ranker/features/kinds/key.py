"""The keys that features of the state are counted by."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PositiveInt

from ranker.features.kinds.column import ColumnFeature, Form
from ranker.features.kinds.feature import Features
from ranker.features.kinds.learned import StateFeature
from ranker.features.kinds.parts import check_parts, made_of
from ranker.spec_model import Duration, Name

HalfLife = Annotated[Duration, Field(gt=0)]
Key = Annotated[
    tuple[Name, ...],
    Field(
        min_length=1,
        description="The key: features of kind id, ids, category or bin; several for their combination, such "
        "as the viewer with the author. Of a list, what is known of its items is added up.",
    ),
]
KeyCapacity = Annotated[
    PositiveInt, Field(description="Keys that are kept; the least recently used is forgotten first.")
]


def check_key(feature: StateFeature, of: Sequence[str], features: Features) -> None:
    """Check that a feature is counted by features that there are, and by one list at most.

    Raises:
        ValueError: It is not.
    """
    check_parts(
        feature, f"a key of kind {feature.kind} expects features of ids or values", _is_key, features, of
    )
    lists = [name for name in of if made_of(name, features).form is Form.BAG]
    if len(lists) > 1:
        raise ValueError(
            f"feature '{feature.name}': a key expects one list at most, found {', '.join(lists)}"
        )


def _is_key(feature: ColumnFeature) -> bool:
    return feature.is_key
