"""Specs derived from a spec: single-task networks of the same cost, and specs without some features."""

from collections.abc import Iterable
from typing import Final

import torch

from ranker.features.kinds.feature import Feature
from ranker.features.kinds.hashed import SharedTableFeature
from ranker.features.layout import Layout
from ranker.features.sides import Group, Side
from ranker.labels.label import HEAD_KEYS
from ranker.networks.match_multiplications import match_multiplications
from ranker.networks.model import RankingModel
from ranker.networks.sharing.mmoe import MMoESpec
from ranker.networks.sharing.shared_bottom import SharedBottomSpec
from ranker.spec import RankerSpec

KINDS: Final = {
    "rates": ("rate",),
    "histories": ("history",),
    "ages": ("age",),
    "ids": ("id", "ids"),
    "crosses": ("cross",),
    "bins": ("bin",),
}
"""Kinds of features by their name in the ablation."""
NEVER_ADMITTED: Final = 2**31


def single_task(spec: RankerSpec, name: str) -> RankerSpec:
    """Return a spec for one task; such networks for all tasks together cost as much as the spec's network.

    Features of the state still count the other tasks' labels, so that all networks have the same inputs.
    Shared layers and bottom are narrowed by the same factor; the tower keeps its size.

    Args:
        spec: The spec with all tasks.
        name: Name of the task.
    """
    (task,) = (task for task in spec.tasks if task.name == name)
    others = [label for label in spec.feedback if label.name != name]
    alone = _changed(
        spec,
        tasks=[task.model_dump()],
        labels=[label.model_dump(exclude=set(HEAD_KEYS)) for label in others],
        score={"combine": "sum", "terms": [{"head": name}]},
    )
    budget = multiplications(spec) // len(spec.tasks)

    widths = [Layout(alone).input_width(group) for group in Group]
    one_expert = MMoESpec.like(spec.network).model_copy(update={"experts": 1})

    def narrowed(share: float) -> RankerSpec:
        target = one_expert.model_copy(
            update={
                "shared": tuple(max(1, round(width * share)) for width in one_expert.shared),
                "expert": tuple(max(1, round(width * share)) for width in one_expert.expert),
            }
        )
        network = match_multiplications(SharedBottomSpec, target, widths, 1)
        return alone.model_copy(update={"network": network})

    low, high = 0.0, 2.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if multiplications(narrowed(middle)) <= budget else (low, middle)
    return narrowed(low)


def multiplications(spec: RankerSpec) -> int:
    """Return the multiplications per candidate of a spec's network."""
    with torch.device("meta"):
        return RankingModel(spec).multiplications


def without(spec: RankerSpec, what: str) -> RankerSpec | None:
    """Return the spec without one kind of feature.

    Without ids, ids are still keys of rates and ages, but all of them have the same embedding, also in
    histories. Without another kind, features that are made of that kind are removed as well, such as the
    rates by a bin.

    Args:
        spec: The spec with all features.
        what: A key of `KINDS`.

    Returns:
        The spec; None if it has no feature of this kind.
    """
    if not any(feature.kind in KINDS[what] for feature in spec.features):
        return None
    if what == "ids":
        return _changed(spec, features=[_without_identity(feature) for feature in spec.features])
    return _left(spec, {feature.name for feature in spec.features if feature.kind in KINDS[what]})


def without_columns(spec: RankerSpec, columns: Iterable[str]) -> RankerSpec:
    """Return the spec without the features that are made of some columns, and without what is made of those.

    Args:
        spec: The spec with all features.
        columns: Columns of the source.
    """
    return _left(spec, {f.name for f in spec.side(*Side) if f.source_column in set(columns)})


def _left(spec: RankerSpec, gone: set[str]) -> RankerSpec:
    kept = [f for f in spec.features if f.name not in gone and not gone.intersection(f.parts)]
    return _changed(spec, features=[feature.model_dump(exclude_unset=True) for feature in kept])


def _without_identity(feature: Feature) -> dict[str, object]:
    given = feature.model_dump(exclude_unset=True)
    if not isinstance(feature, SharedTableFeature) or feature.shares is not None:
        return given
    if feature.id_table() is not None:
        return given | {"capacity": 1, "admission_threshold": NEVER_ADMITTED}
    return given | {"buckets": 1}


def _changed(spec: RankerSpec, **parts: object) -> RankerSpec:
    """Return a spec with parts replaced, validated."""
    return RankerSpec.model_validate(spec.model_dump(exclude_unset=True) | parts)
