"""Networks of equal cost, so that a comparison is not decided by their sizes."""

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
"""Steps of the binary search; more of them do not change a float64 factor."""


def match_multiplications(kind: type[Kind], target: NetworkSpec, widths: Sequence[int], tasks: int) -> Kind:
    """Scale a network of one kind to the multiplications of another network.

    Args:
        kind: The kind to scale; it takes the layers that it shares with the target from there.
        target: The other network.
        widths: Input width of each side.
        tasks: Number of heads of both.

    Returns:
        The largest network with widths in the target's proportions that has no more multiplications than the
        target; the target itself if it is of this kind; widths of 1 if even those have more.
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
    """Count the multiplications per candidate of a network, which is built without memory for weights."""
    with torch.device("meta"):
        return network.build(widths, tasks).multiplications


def with_kind(spec: RankerSpec, kind: str) -> RankerSpec:
    """Return the ranker with a network of another kind and the same number of multiplications.

    Args:
        spec: The ranker.
        kind: The kind's name in a spec.
    """
    widths = [Layout(spec).input_width(group) for group in Group]
    network = match_multiplications(kind_named(kind), spec.network, widths, len(spec.tasks))
    return spec.model_copy(update={"network": network})
