"""Specs derived from one: other networks of the same cost, and the same network with less to read."""

from typing import Final

import torch

from ranker.features.kinds.feature import Feature
from ranker.features.kinds.hashed import SharedTableFeature
from ranker.features.layout import Layout
from ranker.features.sides import Group
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
"""Kinds of feature by what the ablation calls them."""
NEVER_ADMITTED: Final = 2**31


def single_task(spec: RankerSpec, name: str) -> RankerSpec:
    """A network for one task alone, of such a size that one for every task multiplies as often as the spec's.

    The other tasks' labels are still counted by features of the state, so that all read the same numbers.
    Shared layers and bottom are narrowed together; the tower stays.

    Args:
        spec: With all tasks.
        name: The task.
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
    """Multiplications per candidate of a spec's network."""
    with torch.device("meta"):
        return RankingModel(spec).multiplications


def without(spec: RankerSpec, what: str) -> RankerSpec | None:
    """The same ranker without one kind of feature.

    Ids stay as keys of rates, ages and histories, but every id has the same embedding: what they hold is left
    out, and with it which videos a history holds. Of other kinds, what is made of them is left out as well,
    such as the rates by a bin.

    Args:
        spec: With it.
        what: One of `KINDS`.

    Returns:
        None if the spec has no feature of this kind.
    """
    if not any(feature.kind in KINDS[what] for feature in spec.features):
        return None
    if what == "ids":
        return _changed(spec, features=[_without_identity(feature) for feature in spec.features])
    gone = {feature.name for feature in spec.features if feature.kind in KINDS[what]}
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
    """A spec with parts replaced, checked anew."""
    return RankerSpec.model_validate(spec.model_dump(exclude_unset=True) | parts)
