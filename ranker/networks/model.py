"""The whole network of Zhao et al. (RecSys 2019): embeddings, shared layers, sharing, towers, position tower.

Beside the deep part, a linear one leads from the input straight to every head, as in Wide & Deep (Cheng et
al. 2016, arXiv 1606.07792): with one pass over the log, it learns who likes and what is liked much sooner.

Shape letters: B rows, T tasks, M gathered rows of one table, W width of an embedding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ranker.features.batch import Encoded
from ranker.features.layout import Group, Layout
from ranker.networks.embedding import FusedEmbedding
from ranker.networks.layers import SidesLinear, multiplications, relu_layers
from ranker.networks.position import PositionTower
from ranker.networks.sharing.base import Representations
from ranker.networks.sharing.registry import KINDS, Sharing
from ranker.networks.towers import Towers
from ranker.spec import RankerSpec


@dataclass(frozen=True)
class TrainingOutputs:
    """What one forward pass gives a training step.

    Attributes:
        prediction: (B, T) float32 without dropout and without position, not differentiable: what the
            service would have predicted before learning from these rows.
        logit: (B, T) float32 with gate dropout and the position tower's logit: what the loss is taken of.
    """

    prediction: Tensor
    logit: Tensor


class RankingModel(nn.Module):
    """The multitask ranking network of a spec.

    Args:
        spec: Names the features, tasks and sizes.

    Attributes:
        input_widths: Of each group's input, in the order of the groups.
    """

    def __init__(self, spec: RankerSpec) -> None:
        super().__init__()
        self.spec = spec
        layout = Layout(spec)
        network = spec.network
        self.input_widths = widths = [layout.input_width(group) for group in Group]
        self.embedding = FusedEmbedding(layout, spec.training.embedding_scale)
        first, *further = network.shared or (0,)
        self.first = SidesLinear(widths, first) if network.shared else None
        self.linear = SidesLinear(widths, len(spec.tasks)) if network.linear else None
        self.further = relu_layers(first, further)
        hidden = network.shared[-1] if network.shared else sum(widths)
        self.sharing: Sharing = KINDS[network.kind](hidden, len(spec.tasks), network)
        self.towers = Towers(self.sharing.output_width, len(spec.tasks), network.tower)
        biased = [place for place, task in enumerate(spec.tasks) if task.position_bias]
        self.biased_heads = biased
        self.position = (
            PositionTower([f.size for f in layout.bias], len(biased), network.position_dropout)
            if biased
            else None
        )

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.towers.parameters()).device

    @property
    def multiplications(self) -> int:
        """Multiplications per candidate in linear layers, attention, gates and mixing; nothing is reused."""
        parts = (self.first, self.further, self.towers, self.linear)
        linear = sum(multiplications(part) for part in parts if part)
        return linear + self.embedding.multiplications + self.sharing.multiplications

    def dense_parameters(self) -> list[nn.Parameter]:
        """All parameters but the embedding tables."""
        tables = {id(table) for table in self.embedding.tables.values()}
        return [parameter for parameter in self.parameters() if id(parameter) not in tables]

    def forward(self, encoded: Encoded) -> Tensor:
        """Predict, as when ranking: no position, no dropout.

        Args:
            encoded: A batch, or a request with its candidates.

        Returns:
            (B, T) float32: logits of binary tasks, transformed values of regression tasks.
        """
        gathered = self.embedding.gather(self.embedding.rows(encoded))
        groups = self.embedding.inputs(encoded, gathered)
        return self._logit(self._represent(groups).clean, self._linear(groups))

    def training_outputs(self, encoded: Encoded, gathered: dict[int, Tensor]) -> TrainingOutputs:
        """Predict and prepare to learn, sharing all the work that both need.

        Args:
            encoded: A batch with its bias features.
            gathered: For each width, (M, W), as `embedding.gather` gave them; they may require gradients.
        """
        groups = self.embedding.inputs(encoded, gathered)
        representations, linear = self._represent(groups), self._linear(groups)
        logit = self._logit(representations.noisy, linear)
        with torch.no_grad():
            same = representations.clean is representations.noisy
            prediction = logit.detach() if same else self._logit(representations.clean, linear)
        if self.position is not None:
            assert encoded.bias is not None
            places = torch.tensor(self.biased_heads, device=logit.device)
            logit = logit.index_add(1, places, self.position(encoded.bias).to(logit.dtype))
        return TrainingOutputs(prediction, logit)

    def _logit(self, representation_btd: Tensor, linear_bt: Tensor | None) -> Tensor:
        logit: Tensor = self.towers(representation_btd).float()
        return logit if linear_bt is None else logit + linear_bt.float()

    def _linear(self, groups: list[Tensor]) -> Tensor | None:
        return None if self.linear is None else self.linear(groups)

    def _represent(self, groups: list[Tensor]) -> Representations:
        if self.first is None:
            count = max({len(group) for group in groups} - {1}, default=1)
            hidden = torch.cat([group.expand(count, -1) for group in groups], dim=1)
        else:
            hidden = self.further(self.first(groups).relu_())
        representations: Representations = self.sharing(hidden)
        return representations
