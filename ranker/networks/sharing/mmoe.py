"""Multi-gate mixture of experts, with expert dropout in the gates.

Shape letters: B rows, H width of the shared layer, E experts, D expert width, T tasks.
"""

from typing import ClassVar, Final, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from ranker.networks.layers import multiplications, relu_layers
from ranker.networks.sharing.layered import LayeredNetworkSpec
from ranker.networks.sharing.representations import Representations, Sharing

MIN_WEIGHT: Final = 1e-6
"""A smaller remaining weight counts as 0; scaling it to 1 would amplify rounding errors in gradients."""


class MMoESpec(LayeredNetworkSpec):
    """Multi-gate mixture of experts: experts that all tasks share, mixed by one gate per task."""

    scaled_keys: ClassVar = ("expert",)

    kind: Literal["mmoe"] = "mmoe"
    experts: PositiveInt = Field(8, description="Experts shared by all tasks.")
    expert: tuple[PositiveInt, ...] = Field(
        (128,), min_length=1, description="Widths of each expert's layers."
    )
    gate_dropout: float = Field(
        0.1, ge=0, lt=1, description="Chance that a gate ignores an expert in training."
    )

    def sharing(self, width: int, tasks: int) -> "MMoE":
        """See `LayeredNetworkSpec`."""
        return MMoE(width, tasks, self)


class MMoE(Sharing):
    """Shared experts, mixed by one softmax gate per task.

    The first layer of all experts is one wide product; the further ones are batched.

    Source: Ma et al., KDD 2018, https://doi.org/10.1145/3219819.3220007; gate dropout from Zhao et al.,
    RecSys 2019, https://doi.org/10.1145/3298689.3346997.
    """

    def __init__(self, width: int, tasks: int, network: "MMoESpec") -> None:
        super().__init__()
        self.num_experts = network.experts
        self.num_tasks = tasks
        self.gate_dropout = network.gate_dropout
        first, *further = network.expert
        self.first = nn.Linear(width, self.num_experts * first)
        self.further = relu_layers(first, further, networks=self.num_experts)
        self.gates = nn.Linear(width, tasks * self.num_experts)
        self._output_width = network.expert[-1]

    @property
    def output_width(self) -> int:
        """D, the width of a representation."""
        return self._output_width

    @property
    def multiplications(self) -> int:
        """Multiplications per candidate: experts, gates and the mixing."""
        return multiplications(self) + self.num_tasks * self.num_experts * self.output_width

    def first_layers(self) -> list[nn.Linear]:
        """The first layer of all experts, and the gates."""
        return [self.first, self.gates]

    def represent(self, *firsts: Tensor) -> Representations:
        """Mix the experts for every task; in training, once more with gate dropout."""
        first, gate_logit = firsts
        expert_ebd = self.experts(first)
        gate_bte = self.gate_weights(gate_logit)
        if not self.training or self.gate_dropout == 0:
            mixed = mix(gate_bte, expert_ebd)
            return Representations(mixed, mixed)
        train = mix(drop_experts(gate_bte, self.gate_dropout), expert_ebd)
        with torch.no_grad():
            return Representations(train, mix(gate_bte, expert_ebd))

    def experts(self, first: Tensor) -> Tensor:
        """Compute the experts' outputs, (E, B, D), from their first layers, (B, E * first width)."""
        width = first.shape[1] // self.num_experts
        expert: Tensor = first.relu_().view(len(first), self.num_experts, width).transpose(0, 1)
        return self.further(expert)  # type: ignore[no-any-return]

    def gate_weights(self, logit: Tensor) -> Tensor:
        """Compute the experts' softmax weights per task, (B, T, E) float32, from logits, (B, T * E)."""
        return logit.view(len(logit), self.num_tasks, self.num_experts).float().softmax(dim=-1)


def mix(gate_bte: Tensor, expert_ebd: Tensor) -> Tensor:
    """Compute the weighted sum of the experts per task, (B, T, D), from (B, T, E) and (E, B, D)."""
    return gate_bte.to(expert_ebd.dtype) @ expert_ebd.transpose(0, 1)


def drop_experts(gate_bte: Tensor, chance: float) -> Tensor:
    """Set each weight to 0 with a given probability, and scale the rest of the gate to a sum of 1.

    A gate that would lose all its weight keeps all its experts.

    Args:
        gate_bte: (B, T, E), sums to 1 over E.
        chance: Probability of dropping a weight.

    Returns:
        (B, T, E), sums to 1 over E.
    """
    kept = gate_bte * (torch.rand_like(gate_bte) >= chance)
    total = kept.sum(dim=-1, keepdim=True)
    return torch.where(total > MIN_WEIGHT, kept / total.clamp_min(MIN_WEIGHT), gate_bte)
