"""The loss of all heads.

Shape letters: B rows, T tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ranker.labels.label import Task, alike


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
    """Every head's mean loss, times the head's weight, added up.

    A missing label is masked out of its head's mean, so a head with few labels has as much say as its
    weight gives it. Example weights weigh the rows within each head.

    Attributes:
        weights: (T,) of the heads.

    Args:
        tasks: In the order of the outputs' columns.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._groups = list(alike(tasks))
        in_groups = [column for _, columns in self._groups for column in columns]
        self._order = torch.tensor(in_groups).argsort()
        self.weights = torch.tensor([task.weight for task in tasks])

    def __call__(
        self,
        output_bt: Tensor,
        label_bt: Tensor,
        weight_b: Tensor | None = None,
        importance_bt: Tensor | None = None,
    ) -> Losses:
        """Compute the loss.

        Args:
            output_bt: (B, T) float32 of the network.
            label_bt: (B, T) float32 in natural units, NaN where missing.
            weight_b: (B,) float32 example weights; None for 1 each.
            importance_bt: (B, T) float32 by which the loss of a label is multiplied, unlike an example weight
                not in the mean's divisor; None for 1 each.
        """
        device = output_bt.device
        known = ~label_bt.isnan()
        label = torch.where(known, label_bt, 0.0)
        # Of all columns, as torch rounds some numbers otherwise where rows are narrower.
        losses = [task.loss(output_bt, label)[:, columns] for task, columns in self._groups]
        loss = torch.cat(losses, dim=1)[:, self._order.to(device)]
        weight = known.float() if weight_b is None else known * weight_b[:, None]
        if importance_bt is not None:
            loss = loss * importance_bt
        heads = torch.where(known, loss * weight, 0.0).sum(dim=0) / weight.sum(dim=0).clamp_min(1e-12)
        return Losses((heads * self.weights.to(device)).sum(), heads)

    def base_outputs(self, label_bt: Tensor, weight_b: Tensor | None = None) -> Tensor:
        """The constant outputs that fit some labels best.

        Args:
            label_bt: (B, T) in natural units, NaN where missing.
            weight_b: (B,) float32 example weights; None for 1 each.

        Returns:
            (T,) one output a head; NaN without labels.
        """
        targets = [task.target(label_bt[:, columns]) for task, columns in self._groups]
        known = ~label_bt.isnan()
        weight = known.float() if weight_b is None else known * weight_b[:, None]
        total = (torch.cat(targets, dim=1)[:, self._order].nan_to_num() * weight).sum(dim=0)
        count = weight.sum(dim=0)
        outputs = [task.base_outputs(total[columns], count[columns]) for task, columns in self._groups]
        return torch.where(count > 0, torch.cat(outputs)[self._order], torch.nan)
