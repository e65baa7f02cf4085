"""Layers that do many small products as one.

Shape letters: B rows, G networks side by side, I input width, O output width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SidesLinear(nn.Module):
    """A linear layer over an input that comes in groups: sum of W_g x_g, plus b.

    Groups with a single row (a request's own features) are multiplied once and added to every row, which is
    what makes a request cheaper than a batch of the same size.
    """

    def __init__(self, widths: Sequence[int], output: int) -> None:
        super().__init__()
        self.widths = list(widths)
        self.linear = nn.Linear(sum(widths), output)

    def forward(self, groups: Sequence[Tensor]) -> Tensor:
        """Multiply each group by its own columns of the weight and add up.

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

    Initialised as `nn.Linear` would initialise each.
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
        # Batched products of strided operands are copied inside, forward and backward; one copy here is less.
        return torch.baddbmm(self.bias, x_gbi.contiguous(), self.weight)


def relu_layers(width: int, widths: Sequence[int], *, networks: int | None = None) -> nn.Sequential:
    """Layers with a ReLU after each; the identity if there are none.

    Args:
        width: Width of the input.
        widths: Width of each layer.
        networks: As many of these side by side, as batched products; None for one plain network.
    """
    layers: list[nn.Module] = []
    for output in widths:
        linear = nn.Linear(width, output) if networks is None else BatchedLinear(networks, width, output)
        layers += [linear, nn.ReLU(inplace=True)]
        width = output
    return nn.Sequential(*layers)


def multiplications(network: nn.Module) -> int:
    """Multiplications per row in all linear layers of a network, with nothing reused between rows."""
    return sum(
        layer.weight.numel() for layer in network.modules() if isinstance(layer, nn.Linear | BatchedLinear)
    )
