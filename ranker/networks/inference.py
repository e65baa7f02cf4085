"""The model prepared for serving: the same function, with the work that candidates share done once.

A network that splits by sides is linear before its first ReLU, so its first layer is a sum: W_r·r is computed
once per request, W_c·c once per video until its features or the bundle change, and W_p·p once per pair. Only
their sum and the layers after it are computed per candidate. With bfloat16, sums, the linear path and parts
of the network's `rest` stay in float32; on CUDA, the rest is replayed from CUDA graphs.

For any other network, the embedded input of each video is kept, and the plain forward pass does the rest;
with bfloat16, under autocast as in training.

Shape letters: R rows of one side, B rows (candidates of all requests), Q requests, H width of `hidden`,
T tasks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ranker.features.batch import Encoded, GroupInputs
from ranker.features.sides import Group
from ranker.networks.cuda_graphs import CudaGraphs
from ranker.networks.model import RankingModel
from ranker.networks.sharing.base import HeadOutputs, SplitsBySides


@dataclass(frozen=True)
class SideOutput:
    """What one side contributes to the network.

    Attributes:
        hidden: (R, H): its summand of the first layer, or its embedded input.
        linear: (R, T) float32: its summand of the outputs on the linear path; (R, 0) where there is none.
    """

    hidden: Tensor
    linear: Tensor

    def __getitem__(self, rows: Tensor | slice) -> "SideOutput":
        """Some of the rows."""
        return SideOutput(self.hidden[rows], self.linear[rows])


class InferenceModel(ABC):
    """A trained model, ready to rank.

    Attributes:
        dtype: Of the products, and of the videos' stored outputs.
        device: Where it computes.
        hidden_width: H of a candidate's output.
        linear_width: Columns of a candidate's `linear`.
        has_pairs: Whether any feature belongs to the pair of request and candidate.
    """

    hidden_width: int
    linear_width: int

    def __init__(self, model: RankingModel, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.device = model.device
        self.tasks = len(model.spec.tasks)
        self.has_pairs = dict(zip(Group, model.input_widths, strict=True))[Group.PAIR] > 0
        self._embedding = model.embedding

    @classmethod
    def of(cls, model: RankingModel, dtype: torch.dtype = torch.float32) -> "InferenceModel":
        """Prepare a model.

        Args:
            model: Its weights are copied where their type changes, else shared.
            dtype: Of the products, and of the videos' stored outputs.
        """
        kind = SplitInference if isinstance(model.network, SplitsBySides) else PlainInference
        return kind(model, dtype)

    @abstractmethod
    def side_output(self, group: Group, inputs: GroupInputs) -> SideOutput:
        """Compute what a side contributes to the network.

        Args:
            group: The side.
            inputs: R rows of its features.

        Returns:
            R rows, float32.
        """

    def for_storage(self, output: SideOutput) -> SideOutput:
        """Convert videos' outputs to the form in which they are stored.

        Args:
            output: R rows, float32.

        Returns:
            R rows with `hidden` in this model's `dtype`: in bfloat16 it takes half the memory.
        """
        return SideOutput(output.hidden.to(self.dtype), output.linear)

    @abstractmethod
    def outputs(
        self, requests: SideOutput, candidates: Sequence[SideOutput], pairs: SideOutput | None = None
    ) -> Tensor:
        """Compute the heads' outputs for the candidates of some requests.

        Args:
            requests: Q rows.
            candidates: For each request its candidates' outputs, B rows in all.
            pairs: B rows; None if the model has no pair features.

        Returns:
            (B, T) float32 on this model's device: logits of binary tasks, transformed values of regression
            tasks.
        """

    def _embedded(self, group: Group, inputs: GroupInputs) -> Tensor:
        """Return (R, input width), the embedded input of one side."""
        alone = Encoded({group: inputs}, bias=None).to(self.device)
        (x_ri,) = self._embedding.inputs(alone, self._embedding.gather(self._embedding.rows(alone)))
        return x_ri


class SplitInference(InferenceModel):
    """A model whose network splits its first layer by sides."""

    def __init__(self, model: RankingModel, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(model, dtype)
        network = model.network
        assert isinstance(network, SplitsBySides)
        first_layers, linear = network.first_layers(), network.linear_path
        weight = torch.cat([layer.weight for layer in first_layers])
        self.hidden_width, self.linear_width = len(weight), self.tasks
        linear_weight = torch.zeros_like(weight[: self.tasks]) if linear is None else linear.weight
        sides = torch.split(torch.cat([weight, linear_weight]), model.input_widths, dim=1)
        self._weights = {group: side.T.contiguous() for group, side in zip(Group, sides, strict=True)}
        linear_bias = torch.zeros_like(linear_weight[:, 0]) if linear is None else linear.bias
        self._bias = torch.cat([*(layer.bias for layer in first_layers), linear_bias])
        rest = network.rest(dtype)
        self._rest: Callable[[Tensor], Tensor] = rest
        if self.device.type == "cuda":
            self._rest = CudaGraphs(rest, self.hidden_width, dtype, self.device)

    @torch.inference_mode()
    def side_output(self, group: Group, inputs: GroupInputs) -> SideOutput:
        """See `InferenceModel`; the bias of the layers is added to the request's output."""
        product = self._embedded(group, inputs) @ self._weights[group]
        if group is Group.REQUEST:
            product += self._bias
        return SideOutput(product[:, : self.hidden_width], product[:, self.hidden_width :])

    @torch.inference_mode()
    def outputs(
        self, requests: SideOutput, candidates: Sequence[SideOutput], pairs: SideOutput | None = None
    ) -> Tensor:
        """See `InferenceModel`."""
        counts = [len(output.hidden) for output in candidates]
        hidden = torch.empty((sum(counts), self.hidden_width), dtype=self.dtype, device=self.device)
        linear = torch.empty((len(hidden), self.tasks), device=self.device)
        start = 0
        for index, output in enumerate(candidates):
            rows = slice(start, start + counts[index])
            total = requests.hidden[index] + output.hidden
            linear[rows] = requests.linear[index] + output.linear
            if pairs is not None:
                total += pairs.hidden[rows]
            hidden[rows] = total
            start = rows.stop
        if pairs is not None:
            linear += pairs.linear
        return linear.add_(self._rest(hidden))


class PlainInference(InferenceModel):
    """A model whose network runs its plain forward pass on embedded inputs."""

    def __init__(self, model: RankingModel, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(model, dtype)
        self.hidden_width = dict(zip(Group, model.input_widths, strict=True))[Group.CANDIDATE]
        self.linear_width = 0
        self._network = model.network

    @torch.inference_mode()
    def side_output(self, group: Group, inputs: GroupInputs) -> SideOutput:
        """See `InferenceModel`."""
        x_ri = self._embedded(group, inputs)
        return SideOutput(x_ri, x_ri.new_empty(len(x_ri), 0))

    @torch.inference_mode()
    def outputs(
        self, requests: SideOutput, candidates: Sequence[SideOutput], pairs: SideOutput | None = None
    ) -> Tensor:
        """See `InferenceModel`."""
        counts = torch.tensor([len(output.hidden) for output in candidates], device=self.device)
        request = requests.hidden.repeat_interleave(counts, dim=0)
        candidate = torch.cat([output.hidden for output in candidates]).float()
        pair = request.new_empty(len(request), 0) if pairs is None else pairs.hidden
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype is torch.bfloat16):
            outputs: HeadOutputs = self._network([request, candidate, pair])
        return outputs.eval.float()
