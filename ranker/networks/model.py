"""The whole model of Zhao et al. (RecSys 2019): embeddings, a network of the spec's kind, the position tower.

Shape letters: B rows, T tasks, M gathered rows of one table, W width of an embedding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ranker.features.batch import Encoded
from ranker.features.layout import Layout
from ranker.features.sides import Group
from ranker.networks.embedding import FusedEmbedding
from ranker.networks.position import PositionTower
from ranker.networks.sharing.base import HeadOutputs, Network
from ranker.spec import RankerSpec


@dataclass(frozen=True)
class TrainingOutputs:
    """The outputs of one forward pass of a training step.

    Attributes:
        prediction: (B, T) float32 without dropout and position, not differentiable: the outputs that the
            service would have computed before the step.
        logit: (B, T) float32 with dropout and the position tower's logit, the input of the loss.
    """

    prediction: Tensor
    logit: Tensor


class RankingModel(nn.Module):
    """The multitask ranking network of a spec.

    Args:
        spec: The features, tasks and sizes.

    Attributes:
        input_widths: Input width of each group, in the order of `Group`.
    """

    def __init__(self, spec: RankerSpec) -> None:
        super().__init__()
        self.spec = spec
        layout = Layout(spec)
        self.input_widths = widths = [layout.input_width(group) for group in Group]
        self.embedding = FusedEmbedding(layout, spec.training.embedding_scale)
        self.network: Network = spec.network.build(widths, len(spec.tasks))
        biased = [index for index, task in enumerate(spec.tasks) if task.position_bias]
        self.biased_heads = biased
        self.position = (
            PositionTower([f.size for f in layout.bias], len(biased), spec.network.position_dropout)
            if biased
            else None
        )

    @property
    def device(self) -> torch.device:
        """The parameters' device."""
        return next(self.network.parameters()).device

    @property
    def multiplications(self) -> int:
        """Multiplications per candidate in attention and network, with nothing shared between candidates."""
        return self.embedding.multiplications + self.network.multiplications

    def dense_parameters(self) -> list[nn.Parameter]:
        """Return all parameters except the embedding tables."""
        tables = {id(table) for table in self.embedding.tables.values()}
        return [parameter for parameter in self.parameters() if id(parameter) not in tables]

    def forward(self, encoded: Encoded) -> Tensor:
        """Predict as in ranking: without position and without dropout.

        Args:
            encoded: A batch, or a request with its candidates.

        Returns:
            (B, T) float32: logits of binary tasks, transformed values of regression tasks.
        """
        gathered = self.embedding.gather(self.embedding.rows(encoded))
        groups = self.embedding.inputs(encoded, gathered)
        outputs: HeadOutputs = self.network(groups)
        return outputs.eval

    def training_outputs(self, encoded: Encoded, gathered: dict[int, Tensor]) -> TrainingOutputs:
        """Compute the outputs for the metrics and for the loss in one forward pass.

        Args:
            encoded: A batch with its bias features.
            gathered: For each width, (M, W) float, as returned by `embedding.gather`; they may require
                gradients.
        """
        groups = self.embedding.inputs(encoded, gathered)
        outputs: HeadOutputs = self.network(groups)
        logit, prediction = outputs.train, outputs.eval.detach()
        if self.position is not None:
            assert encoded.bias is not None
            heads = torch.tensor(self.biased_heads, device=logit.device)
            logit = logit.index_add(1, heads, self.position(encoded.bias).to(logit.dtype))
        return TrainingOutputs(prediction, logit)
