"""Layers that compute many small products as one.

Shape letters: B rows, G networks side by side, I input width, O output width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SidesLinear(nn.Module):
    """A linear layer over an input in groups: the sum of W_g x_g, plus b.

    A group with a single row (a request's own features) is multiplied once and added to every row, so a
    request is cheaper than a batch of the same size.
    """

    def __init__(self, widths: Sequence[int], output: int) -> None:
        super().__init__()
        self.widths = list(widths)
        self.linear = nn.Linear(sum(widths), output)

    def forward(self, groups: Sequence[Tensor]) -> Tensor:
        """Multiply each group by its columns of the weight, and add.

        Args:
            groups: For each group (B, I_g), or (1, I_g) to be the same for all rows.

        Returns:
            (B, O).
        """
        rows = {len(group) for group in groups}
        if len(rows) == 1:
            return self.linear(torch.cat(list(groups), dim=1))  # type: ignore[no-any-return]
        parts = torch.split(self.linear.weight, self.widths, dim=1)
        total: Tensor = self.linear.bias
        for group, part in zip(groups, parts, strict=True):
            if group.shape[1]:
                total = total + group @ part.T
        count = max(rows - {1})
        return total if len(total) == count else total.repeat(count, 1)


class BatchedLinear(nn.Module):
    """G linear layers of the same size as one batched product.

    Each is initialised like `nn.Linear`.
    """

    def __init__(self, networks: int, width: int, output: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.empty(networks, width, output).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(networks, 1, output).uniform_(-bound, bound))

    def forward(self, x_gbi: Tensor) -> Tensor:
        """Apply network g to x[g].

        Args:
            x_gbi: (G, B, I).

        Returns:
            (G, B, O).
        """
        # A batched product copies a strided operand in both forward and backward; this is one copy less
        return torch.baddbmm(self.bias, x_gbi.contiguous(), self.weight)


def relu_layers(width: int, widths: Sequence[int], *, networks: int | None = None) -> nn.Sequential:
    """Return linear layers with a ReLU after each; the identity if there are none.

    Args:
        width: Width of the input.
        widths: Width of each layer.
        networks: G, for so many networks as batched products; None for one network.
    """
    layers: list[nn.Module] = []
    for output in widths:
        linear = nn.Linear(width, output) if networks is None else BatchedLinear(networks, width, output)
        layers += [linear, nn.ReLU(inplace=True)]
        width = output
    return nn.Sequential(*layers)


def multiplications(network: nn.Module) -> int:
    """Count the multiplications per row in a network's linear layers, with nothing shared between rows."""
    return sum(
        layer.weight.numel() for layer in network.modules() if isinstance(layer, nn.Linear | BatchedLinear)
    )
