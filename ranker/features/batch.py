"""Tensors of one batch or request, as the encoder makes them and the network takes them.

Shape letters: R rows of a group (1 for a request's own features, B in training, C candidates), N numbers,
S single-valued features of one width, M ids in all bags of a feature.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ranker.features.layout import Group


@dataclass(frozen=True)
class Bag:
    """A bag of ids for every row of a group.

    Attributes:
        rows: (M,) int64, rows of the fused table, bag after bag.
        offsets: (R,) int64, where each bag starts.
        width: Width of the embeddings, which names the table.
    """

    rows: Tensor
    offsets: Tensor
    width: int


@dataclass(frozen=True)
class GroupInputs:
    """The features of one group.

    Attributes:
        count: R.
        singles: For each width, (R, S) int64 rows of the fused table of that width.
        bags: One a feature of kind `ids`.
        numbers: (R, 2 N) float32: standardised values (0 where missing), then indicators of missing ones.
    """

    count: int
    singles: dict[int, Tensor]
    bags: tuple[Bag, ...]
    numbers: Tensor

    def to(self, device: torch.device) -> "GroupInputs":
        """The same inputs on another device."""
        return GroupInputs(
            self.count,
            {width: rows.to(device) for width, rows in self.singles.items()},
            tuple(Bag(b.rows.to(device), b.offsets.to(device), b.width) for b in self.bags),
            self.numbers.to(device),
        )


@dataclass(frozen=True)
class Encoded:
    """All features of a training batch or of a request.

    Attributes:
        groups: The inputs of each group; in training all have B rows, in a request the first has one.
        bias: (B, number of bias features) int64 categories, 0 where missing; None when ranking.
    """

    groups: dict[Group, GroupInputs]
    bias: Tensor | None

    def to(self, device: torch.device) -> "Encoded":
        """The same inputs on another device."""
        bias = None if self.bias is None else self.bias.to(device)
        return Encoded({group: inputs.to(device) for group, inputs in self.groups.items()}, bias)
