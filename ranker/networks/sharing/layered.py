"""Networks of shared layers, a way of sharing and towers, as most published rankers are.

Shape letters: B rows, I_g input width of side g, H width of the shared layer, T tasks, D width of a
representation.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from ranker.networks.layers import SidesLinear, multiplications, relu_layers
from ranker.networks.sharing.base import HeadOutputs, Network, NetworkSpec, SplitsBySides
from ranker.networks.sharing.layered_rest import LayeredRest
from ranker.networks.sharing.representations import Representations, Sharing
from ranker.networks.towers import Towers


class LayeredNetworkSpec(NetworkSpec):
    """Shared layers, a way of sharing between tasks, and a tower per task."""

    shared: tuple[PositiveInt, ...] = Field((256,), description="Widths of the layers below the sharing.")
    tower: tuple[PositiveInt, ...] = Field((64,), description="Widths of each task's own layers.")
    linear: bool = Field(
        True, description="A linear part from the input straight to every head, beside the rest."
    )

    @abstractmethod
    def sharing(self, width: int, tasks: int) -> Sharing:
        """Build the part between the shared layers and the towers.

        Args:
            width: H.
            tasks: T.
        """

    def build(self, widths: Sequence[int], tasks: int) -> "LayeredNetwork":
        """See `NetworkSpec`."""
        return LayeredNetwork(self, widths, tasks)

    @classmethod
    def like(cls, other: NetworkSpec) -> Self:
        """See `NetworkSpec`; the widths of the other kind's `scaled_keys` become those of this kind's."""
        common = {key: getattr(other, key) for key in cls.model_fields.keys() & type(other).model_fields}
        widths = {
            mine: getattr(other, theirs)
            for mine, theirs in zip(cls.scaled_keys, other.scaled_keys, strict=False)
        }
        return cls.model_validate({**common, **widths, "kind": cls.model_fields["kind"].default})


class LayeredNetwork(Network, SplitsBySides):
    """Shared layers, sharing and towers, with a linear path from the input to every head.

    The linear path is that of Wide & Deep (Cheng et al. 2016, arXiv 1606.07792). In a single pass over the
    log it learns the main effects of viewers and videos much sooner than the deep part.
    """

    def __init__(self, spec: LayeredNetworkSpec, widths: Sequence[int], tasks: int) -> None:
        super().__init__()
        first, *further = spec.shared or (0,)
        self.first = SidesLinear(widths, first) if spec.shared else None
        self.linear = SidesLinear(widths, tasks) if spec.linear else None
        self.further = relu_layers(first, further)
        hidden = spec.shared[-1] if spec.shared else sum(widths)
        self.sharing = spec.sharing(hidden, tasks)
        self.towers = Towers(self.sharing.output_width, tasks, spec.tower)
        nn.init.zeros_(self.towers.output.weight)  # a head that has learned nothing gives its constant alone
        if self.linear is not None:
            nn.init.zeros_(self.linear.linear.weight)

    @property
    def multiplications(self) -> int:
        """See `Network`."""
        parts = (self.first, self.further, self.towers, self.linear)
        return sum(multiplications(part) for part in parts if part) + self.sharing.multiplications

    def forward(self, sides: Sequence[Tensor]) -> HeadOutputs:
        """See `Network`."""
        if self.first is None:
            count = max({len(side) for side in sides} - {1}, default=1)
            hidden = torch.cat([side.expand(count, -1) for side in sides], dim=1)
        else:
            hidden = self.further(self.first(sides).relu_())
        representations: Representations = self.sharing(hidden)
        linear = None if self.linear is None else self.linear(sides)
        train = self._outputs(representations.train, linear)
        if representations.eval is representations.train:
            return HeadOutputs(train, train)
        with torch.no_grad():
            return HeadOutputs(train, self._outputs(representations.eval, linear))

    def start_at(self, output_t: Tensor) -> None:
        """See `Network`."""
        self.towers.start_at(output_t)

    def shift(self, output_t: Tensor) -> None:
        """See `Network`."""
        self.towers.shift(output_t)

    def first_layers(self) -> list[nn.Linear]:
        """See `SplitsBySides`; without shared layers, the first layers of the sharing."""
        return self.sharing.first_layers() if self.first is None else [self.first.linear]

    @property
    def linear_path(self) -> nn.Linear | None:
        """See `SplitsBySides`."""
        return None if self.linear is None else self.linear.linear

    def rest(self, dtype: torch.dtype) -> nn.Module:
        """See `SplitsBySides`."""
        return LayeredRest(self.further if self.first else None, self.sharing, self.towers, dtype)

    def _outputs(self, representation_btd: Tensor, linear_bt: Tensor | None) -> Tensor:
        output: Tensor = self.towers(representation_btd).float()
        return output if linear_bt is None else output + linear_bt.float()
