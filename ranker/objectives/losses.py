"""Losses of the heads, and the way back from the network's outputs to natural units.

Shape letters: B rows, T tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ranker.labels.label import Task


@dataclass(frozen=True)
class Losses:
    """The loss of a batch.

    Attributes:
        total: Scalar: the heads' losses times their weights, added up.
        heads: (T,) mean loss of each head over its labelled rows; 0 where none is.
    """

    total: Tensor
    heads: Tensor


class MultitaskLoss:
    """Cross-entropy for binary heads, squared error on the transformed target for regression heads.

    A missing label is masked out of its head's mean, so a head with few labels has as much say as its
    weight gives it. Example weights weigh the rows within each head.

    Args:
        tasks: In the order of the logits' columns.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.binary = torch.tensor([task.kind == "binary" for task in tasks])
        self.log1p = torch.tensor([task.transform == "log1p" for task in tasks])
        self.weights = torch.tensor([task.weight for task in tasks])

    def __call__(self, logit_bt: Tensor, label_bt: Tensor, weight_b: Tensor | None = None) -> Losses:
        """Compute the loss.

        Args:
            logit_bt: (B, T) float32, the network's outputs.
            label_bt: (B, T) float32 in natural units, NaN where missing.
            weight_b: (B,) float32 example weights; None for 1 each.
        """
        device = logit_bt.device
        known = ~label_bt.isnan()
        label = torch.where(known, label_bt, 0.0)
        target = torch.where(self.log1p.to(device), torch.log1p(label.clamp_min(0)), label)
        loss = torch.where(
            self.binary.to(device),
            functional.binary_cross_entropy_with_logits(logit_bt, target, reduction="none"),
            (logit_bt - target).square(),
        )
        weight = known.float() if weight_b is None else known * weight_b[:, None]
        heads = torch.where(known, loss * weight, 0.0).sum(dim=0) / weight.sum(dim=0).clamp_min(1e-12)
        return Losses((heads * self.weights.to(device)).sum(), heads)

    def base_outputs(self, label_bt: Tensor) -> Tensor:
        """The constant outputs that fit some labels best.

        Args:
            label_bt: (B, T) in natural units, NaN where missing.

        Returns:
            (T,) the logit of the (smoothed) rate, or the mean transformed label; NaN without labels.
        """
        known = ~label_bt.isnan()
        count = known.sum(dim=0)
        rate = (label_bt.nan_to_num().sum(dim=0) + 0.5) / (count + 1)
        transformed = torch.where(self.log1p, label_bt.clamp_min(0).log1p(), label_bt)
        output = torch.where(self.binary, rate.clamp(1e-6, 1 - 1e-6).logit(), transformed.nanmean(dim=0))
        return torch.where(count > 0, output, torch.nan)
