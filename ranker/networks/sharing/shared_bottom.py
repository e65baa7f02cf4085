"""The baseline: one network for all tasks, below their towers.

Shape letters: B rows, H width of the shared layer, T tasks, D width of a representation.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from ranker.networks.layers import multiplications, relu_layers
from ranker.networks.sharing.base import Representations, Sharing
from ranker.networks.sharing.mmoe import MMoE
from ranker.networks.sharing.network_spec import NetworkSpec


class SharedBottom(Sharing):
    """Hard parameter sharing: every task sees the same representation.

    The bottom has as many layers as an expert of the spec, widened together until it does as many
    multiplications as the mixture of experts, so that comparing the two compares ways of sharing.

    Source: Caruana, Machine Learning 28, 1997, https://doi.org/10.1023/A:1007379606734.
    """

    def __init__(self, width: int, tasks: int, network: NetworkSpec) -> None:
        super().__init__()
        self.num_tasks = tasks
        self.widths = matched_widths(width, tasks, network)
        self.bottom = relu_layers(width, self.widths)

    @property
    def output_width(self) -> int:
        """D."""
        return self.widths[-1]

    @property
    def multiplications(self) -> int:
        """Multiplications per candidate."""
        return multiplications(self)

    def first_layers(self) -> list[nn.Linear]:
        """The bottom's first layer."""
        first = self.bottom[0]
        assert isinstance(first, nn.Linear)
        return [first]

    def represent(self, *firsts: Tensor) -> Representations:
        """Represent every row once, for all tasks."""
        shared = self.bottom[1:](firsts[0]).unsqueeze(1).expand(-1, self.num_tasks, -1)
        return Representations(shared, shared)


def matched_widths(width: int, tasks: int, network: NetworkSpec) -> tuple[int, ...]:
    """Widths of a bottom that multiplies as often as the experts, gates and towers of the same spec.

    Args:
        width: Width of the shared layer.
        tasks: Number of tasks.
        network: Sizes of the mixture of experts.

    Returns:
        As many widths as an expert has, in the same proportions.
    """
    tower = network.tower[0] if network.tower else 1
    with torch.device("meta"):  # only its sizes are asked for
        mixture = MMoE(width, tasks, network)
    wanted = mixture.multiplications + tasks * mixture.output_width * tower

    def total(widths: tuple[int, ...]) -> int:
        return sum(a * b for a, b in pairwise((width, *widths))) + tasks * widths[-1] * tower

    low, high = 0.0, float(network.experts * max(width, 64))
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if total(_scaled(network.expert, middle)) <= wanted else (low, middle)
    return _scaled(network.expert, low)


def _scaled(widths: tuple[int, ...], factor: float) -> tuple[int, ...]:
    return tuple(max(1, int(width * factor)) for width in widths)
