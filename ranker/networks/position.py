"""The shallow tower that learns the position bias, so that the rest of the network does not.

Shape letters: B rows, K bias features, P heads with a position bias, C cells of the cross.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PositionTower(nn.Module):
    """A logit from position crossed with device, or any other features of side `bias`.

    Every feature has a logit per value, and every combination of values has one more. The logit is exactly 0
    in a row where all of them are missing, which is so when dropout hides the position and when a candidate
    is ranked. So the rest of the network learns to be calibrated without a position.

    Source: Zhao et al., RecSys 2019, https://doi.org/10.1145/3298689.3346997.

    Args:
        sizes: Number of categories of each bias feature, including missing (0) and other (1).
        heads: P.
        dropout: Chance that a row's bias features are hidden in training.
    """

    def __init__(self, sizes: Sequence[int], heads: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.values = nn.ParameterList(nn.Parameter(torch.zeros(size, heads)) for size in sizes)
        self.cross = nn.Parameter(torch.zeros(math.prod(sizes), heads))

    def forward(self, bias_bk: Tensor) -> Tensor:
        """Compute the position bias of every row.

        Args:
            bias_bk: (B, K) int64 categories, 0 where missing.

        Returns:
            (B, P) float32, to be added to the heads' logits.
        """
        known = (bias_bk != 0).any(dim=1, keepdim=True)
        if self.training and self.dropout:
            known = known & (torch.rand(known.shape, device=known.device) >= self.dropout)
        cell = torch.zeros_like(bias_bk[:, 0])
        logit = torch.zeros(len(bias_bk), self.cross.shape[1], device=bias_bk.device)
        for column, table in enumerate(self.values):
            logit = logit + table[bias_bk[:, column]]
            cell = cell * len(table) + bias_bk[:, column]
        return (logit + self.cross[cell]) * known
