"""One tower per task, computed as batched products.

Shape letters: B rows, T tasks, D width of a representation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ranker.networks.layers import BatchedLinear, relu_layers


class Towers(nn.Module):
    """Per-task layers with ReLUs and one output each: h^k of Zhao et al."""

    def __init__(self, width: int, tasks: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.hidden = relu_layers(width, widths, networks=tasks)
        self.output = BatchedLinear(tasks, (width, *widths)[-1], 1)

    @torch.no_grad()
    def start_at(self, output_t: Tensor) -> None:
        """Set every task's output bias, so that learning starts from the base rate.

        Args:
            output_t: (T,) logits or transformed values; NaN keeps a task's bias.
        """
        bias = self.output.bias[:, 0, 0]
        bias.copy_(torch.where(output_t.isnan(), bias, output_t.to(bias)))

    @torch.no_grad()
    def shift(self, output_t: Tensor) -> None:
        """Add a constant to every task's output.

        Args:
            output_t: (T,) logits or transformed values.
        """
        self.output.bias[:, 0, 0] += output_t.to(self.output.bias)

    def forward(self, representation_btd: Tensor) -> Tensor:
        """Apply tower t to representation[:, t].

        Args:
            representation_btd: (B, T, D) float.

        Returns:
            (B, T) float: logits of binary tasks, transformed values of regression tasks.
        """
        logit_tb1: Tensor = self.output(self.hidden(representation_btd.transpose(0, 1)))
        return logit_tb1.squeeze(-1).T
