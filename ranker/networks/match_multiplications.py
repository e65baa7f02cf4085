"""Networks of equal cost, so that comparing them compares what they do and not how large they are."""

from collections.abc import Sequence
from typing import Final, TypeVar

import torch

from ranker.features.layout import Layout
from ranker.features.sides import Group
from ranker.networks.sharing.base import NetworkSpec
from ranker.networks.sharing.registry import kind_named
from ranker.spec import RankerSpec

Kind = TypeVar("Kind", bound=NetworkSpec)
HALVINGS: Final = 60
"""Steps of the search; after as many, two factors differ by less than a float can tell."""


def match_multiplications(kind: type[Kind], target: NetworkSpec, widths: Sequence[int], tasks: int) -> Kind:
    """Size a network of one kind until it multiplies as often as another one.

    Args:
        kind: What is sized; it takes over the layers of the target, as far as it has such.
        target: The other network.
        widths: Of each side's input.
        tasks: How many heads both have.

    Returns:
        The largest network, its widths in the target's proportions, that multiplies no more often than the
        target; the target itself if it is of this kind; widths of 1 if even those multiply more often.
    """
    if type(target) is kind:
        return target
    wanted, start = multiplications(target, widths, tasks), kind.like(target)
    low, high = 0.0, 1.0
    while multiplications(start.scaled(high), widths, tasks) <= wanted:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        fits = multiplications(start.scaled(middle), widths, tasks) <= wanted
        low, high = (middle, high) if fits else (low, middle)
    return start.scaled(low)


def multiplications(network: NetworkSpec, widths: Sequence[int], tasks: int) -> int:
    """Multiplications per candidate of a network, which is made without memory for its weights."""
    with torch.device("meta"):
        return network.build(widths, tasks).multiplications


def with_kind(spec: RankerSpec, kind: str) -> RankerSpec:
    """The same ranker with a network of another kind that multiplies as often.

    Args:
        spec: The ranker.
        kind: What a spec calls the kind.
    """
    widths = [Layout(spec).input_width(group) for group in Group]
    network = match_multiplications(kind_named(kind), spec.network, widths, len(spec.tasks))
    return spec.model_copy(update={"network": network})
