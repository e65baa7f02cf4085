"""The layers of a layered network after its first ones, prepared for ranking.

Shape letters: B rows, D width of a representation, T tasks.
"""

import copy
from typing import Final

import torch
from torch import Tensor, nn

from ranker.device import fast_bfloat16
from ranker.networks.sharing.representations import Sharing
from ranker.networks.towers import Towers

PACKED_ROWS: Final = 512
"""Rows that the weights' layout is optimised for; it is correct for any number."""


class LayeredRest(nn.Module):
    """Further shared layers, sharing and towers, without dropout.

    The softmax of the gates and the last product of the towers stay in float32.

    Args:
        further: The shared layers after the first one; None if the network has no shared layers, so that its
            first layers are those of the sharing.
        sharing: The part between the shared layers and the towers.
        towers: The towers.
        dtype: Type of all other products.
    """

    def __init__(
        self, further: nn.Module | None, sharing: Sharing, towers: Towers, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.sharing = copy.deepcopy(sharing).eval()
        self.towers = copy.deepcopy(towers)
        self.further = copy.deepcopy(further)
        first_layers = sharing.first_layers()
        self.widths = [layer.out_features for layer in first_layers]
        self.requires_grad_(False).to(dtype)
        self.products = (
            [PackedLinear(layer) for layer in self.sharing.first_layers()] if further is not None else []
        )
        self.towers.output.float()  # in bfloat16, a logit has an error of 0.01

    def forward(self, hidden: Tensor) -> Tensor:
        """Compute (B, T) float32 from (B, sum of the first layers' widths), which is overwritten."""
        if self.further is None:
            firsts = list(torch.split(hidden, self.widths, dim=1))
        else:
            hidden = self.further(hidden.relu_())
            firsts = [product(hidden) for product in self.products]
        tower_tbd = self.towers.hidden(self.sharing.represent(*firsts).eval.transpose(0, 1))
        output_tb1: Tensor = self.towers.output(tower_tbd.float())
        return output_tb1.squeeze(-1).T


class PackedLinear:
    """A linear layer whose weight is put into oneDNN's layout once and not at every call.

    This saves a tenth of the time of 500 candidates. The operator is not public, but torch's own compiler
    uses it. Without it, and for other types and devices, the plain layer is called.
    """

    def __init__(self, layer: nn.Linear) -> None:
        self._layer = layer
        self._packed: Tensor | None = None
        weight = layer.weight
        if weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and fast_bfloat16(weight.device):
            try:
                self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_ROWS)
            except (AttributeError, RuntimeError):
                self._packed = None

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the layer: (B, outputs) from (B, inputs)."""
        if self._packed is None or not len(x):
            return self._layer(x)  # type: ignore[no-any-return]
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self._layer.bias, "none", [], ""
        )
        return product
