"""How the heads of a multi-gate mixture of experts use the experts.

A gate that gives nearly all its weight to one expert has polarised: the head no longer learns from what the
others have in common. Source: Zhao et al., RecSys 2019, https://doi.org/10.1145/3298689.3346997, section 5.

Shape letters: N rows, T tasks, E experts.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from ranker.features.batch import Encoded
from ranker.networks.model import RankingModel
from ranker.networks.sharing.mmoe import MMoE
from ranker.store.reports import Alarm

MAX_SHARE: Final = 0.95
"""A head whose most used expert has more of its gate's weight has polarised."""


@dataclass(frozen=True)
class GateUse:
    """How a head's gate uses the experts.

    Attributes:
        entropy: Mean entropy of the gate's weights, as a share of that of equal ones.
        top_share: Share of the weight that the most used expert has.
    """

    entropy: float
    top_share: float


def gate_use(model: RankingModel, encoded: Encoded) -> list[GateUse]:
    """Look at the gates while rows are predicted.

    Args:
        model: In evaluation mode.
        encoded: N rows.

    Returns:
        One for each task; none for a network without gates, or with one expert.
    """
    sharing = getattr(model.network, "sharing", None)
    if not isinstance(sharing, MMoE) or sharing.num_experts < 2:
        return []
    logits: list[Tensor] = []
    listening = sharing.gates.register_forward_hook(lambda _, __, logit: logits.append(logit))
    try:
        with torch.inference_mode():
            model(encoded.to(model.device))
    finally:
        listening.remove()
    gate_nte = sharing.gate_weights(logits[0])
    entropy_t = -torch.xlogy(gate_nte, gate_nte).sum(dim=-1).mean(dim=0) / math.log(sharing.num_experts)
    top_t = gate_nte.mean(dim=0).amax(dim=-1)
    return [GateUse(*one) for one in zip(entropy_t.tolist(), top_t.tolist(), strict=True)]


def gate_alarm(head: str, use: GateUse) -> Alarm | None:
    """An alarm if a head's gate has polarised."""
    if use.top_share <= MAX_SHARE:
        return None
    return Alarm(
        kind="gate",
        about=head,
        expected=f"at most {MAX_SHARE:.0%} of a gate's weight on one expert",
        found=f"{use.top_share:.1%}, with {use.entropy:.1%} of the entropy of equal weights",
    )
