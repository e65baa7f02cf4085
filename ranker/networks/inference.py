"""The network prepared for serving: the same function, in which nothing is computed twice.

Everything before the first ReLU is linear, so it falls apart by sides: W_r·r once a request, W_c·c once a
video for as long as its features and the bundle stay the same, W_p·p for each pair, and only their sum and
what comes after it for each candidate. Without shared layers, "the first layer" is the first one of the
experts and gates.

In bfloat16, sums, the linear part, the softmax of the gates and the last product of the towers stay in
float32; on CUDA, what comes after the sum is recorded once and replayed.

Shape letters: R rows of one side, B rows (candidates of all requests), Q requests, I input width of a side,
H width of the first layer, T tasks.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from ranker.device import fast_bfloat16
from ranker.features.batch import Encoded, GroupInputs
from ranker.features.layout import Group
from ranker.networks.cuda_graphs import CudaGraphs
from ranker.networks.model import RankingModel

ROWS_PACKED_FOR: Final = 512
"""Rows of a product that weights are laid out for; other numbers are computed just as well."""


@dataclass(frozen=True)
class Part:
    """What one side adds to the first layer and to the linear part.

    Attributes:
        hidden: (R, H).
        linear: (R, T) float32.
    """

    hidden: Tensor
    linear: Tensor

    def __getitem__(self, rows: Tensor | slice) -> "Part":
        """Some of the rows."""
        return Part(self.hidden[rows], self.linear[rows])


class InferenceModel:
    """A trained network, ready to rank.

    Args:
        model: The network; its weights are copied where their type changes, else shared.
        dtype: Of everything after the first layer, and of the videos' resident parts.

    Attributes:
        hidden_width: H.
        tasks: T.
        has_pairs: Whether any feature belongs to the pair of request and candidate.
    """

    def __init__(self, model: RankingModel, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self.device = model.device
        self.tasks = len(model.spec.tasks)
        self._embedding = model.embedding
        first_layers = [model.first.linear] if model.first else model.sharing.first_layers()
        weight = torch.cat([layer.weight for layer in first_layers])
        self.hidden_width = len(weight)
        linear = model.linear.linear if model.linear else None
        linear_weight = torch.zeros_like(weight[: self.tasks]) if linear is None else linear.weight
        sides = torch.split(torch.cat([weight, linear_weight]), model.input_widths, dim=1)
        self._weights = {group: side.T.contiguous() for group, side in zip(Group, sides, strict=True)}
        self.has_pairs = len(self._weights[Group.PAIR]) > 0
        linear_bias = torch.zeros_like(linear_weight[:, 0]) if linear is None else linear.bias
        self._bias = torch.cat([*(layer.bias for layer in first_layers), linear_bias])
        rest = _Rest(model, dtype)
        self._rest: Callable[[Tensor], Tensor] = rest
        if self.device.type == "cuda":
            self._rest = CudaGraphs(rest, self.hidden_width, dtype, self.device)

    @torch.inference_mode()
    def part(self, group: Group, inputs: GroupInputs) -> Part:
        """Compute what a side adds.

        Args:
            group: The side; the bias of the layers is added to the request's.
            inputs: R rows of its features.

        Returns:
            R rows, float32.
        """
        alone = Encoded({group: inputs}, bias=None).to(self.device)
        gathered = self._embedding.gather(self._embedding.rows(alone))
        (x_ri,) = self._embedding.inputs(alone, gathered)
        product = x_ri @ self._weights[group]
        if group is Group.REQUEST:
            product += self._bias
        return Part(product[:, : self.hidden_width], product[:, self.hidden_width :])

    def resident(self, part: Part) -> Part:
        """A videos' part as it is kept: its first layer in this model's type, which halves its memory."""
        return Part(part.hidden.to(self.dtype), part.linear)

    @torch.inference_mode()
    def outputs(self, requests: Part, candidates: Sequence[Part], pairs: Part | None = None) -> Tensor:
        """Compute the network's outputs for the candidates of some requests.

        Args:
            requests: Q rows.
            candidates: For each request its candidates' parts, B rows in all.
            pairs: B rows; None if the network has no pair features.

        Returns:
            (B, T) float32 on this model's device: logits of binary tasks, transformed values of regression
            tasks.
        """
        counts = [len(part.hidden) for part in candidates]
        hidden = torch.empty((sum(counts), self.hidden_width), dtype=self.dtype, device=self.device)
        linear = torch.empty((len(hidden), self.tasks), device=self.device)
        start = 0
        for place, part in enumerate(candidates):
            rows = slice(start, start + counts[place])
            total = requests.hidden[place] + part.hidden
            linear[rows] = requests.linear[place] + part.linear
            if pairs is not None:
                total += pairs.hidden[rows]
            hidden[rows] = total
            start = rows.stop
        if pairs is not None:
            linear += pairs.linear
        return linear.add_(self._rest(hidden))


class _Rest(nn.Module):
    """What comes after the sum of the parts."""

    def __init__(self, model: RankingModel, dtype: torch.dtype) -> None:
        super().__init__()
        self.sharing = copy.deepcopy(model.sharing).eval()
        self.towers = copy.deepcopy(model.towers)
        self.shared = model.first is not None
        self.further = copy.deepcopy(model.further)
        first_layers = model.sharing.first_layers()
        self.widths = [layer.out_features for layer in first_layers]
        self.requires_grad_(False).to(dtype)
        self.products = [_Product(layer) for layer in self.sharing.first_layers()] if self.shared else []
        self.towers.output.float()  # a logit in bfloat16 would be off by a hundredth

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T) float32, outputs of the deep part; the argument is overwritten."""
        if self.shared:
            hidden = self.further(hidden.relu_())
            firsts = [product(hidden) for product in self.products]
        else:
            firsts = list(torch.split(hidden, self.widths, dim=1))
        tower_tbd = self.towers.hidden(self.sharing.represent(*firsts).clean.transpose(0, 1))
        output_tb1: Tensor = self.towers.output(tower_tbd.float())
        return output_tb1.squeeze(-1).T


class _Product:
    """A linear layer whose weight is laid out once as oneDNN wants it, instead of at every call.

    That saves a tenth of the time of 500 candidates. torch's own compiler relies on the
    same operator, but it is no public interface: without it, or for another type or device, the layer is
    called as it is.
    """

    def __init__(self, layer: nn.Linear) -> None:
        self._layer = layer
        self._packed: Tensor | None = None
        weight = layer.weight
        if weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and fast_bfloat16(weight.device):
            try:
                self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS_PACKED_FOR)
            except (AttributeError, RuntimeError):
                self._packed = None

    def __call__(self, x: Tensor) -> Tensor:
        if self._packed is None or not len(x):
            return self._layer(x)  # type: ignore[no-any-return]
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self._layer.bias, "none", [], ""
        )
        return product
