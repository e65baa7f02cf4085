"""Hard parameter sharing, the baseline: one network for all tasks below their towers.

Shape letters: B rows, H width of the shared layer, T tasks, D width of a representation.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from ranker.networks.layers import multiplications, relu_layers
from ranker.networks.sharing.layered import LayeredNetworkSpec
from ranker.networks.sharing.representations import Representations, Sharing


class SharedBottomSpec(LayeredNetworkSpec):
    """One network for all tasks below their towers.

    `match_multiplications` finds the widths with which it multiplies as often as another network.
    """

    scaled_keys: ClassVar = ("bottom",)

    kind: Literal["shared_bottom"] = "shared_bottom"
    bottom: tuple[PositiveInt, ...] = Field(
        (256,), min_length=1, description="Widths of the layers between the shared layers and the towers."
    )

    def sharing(self, width: int, tasks: int) -> "SharedBottom":
        """See `LayeredNetworkSpec`."""
        return SharedBottom(width, tasks, self.bottom)


class SharedBottom(Sharing):
    """Hard parameter sharing: all tasks have the same representation.

    Source: Caruana, Machine Learning 28, 1997, https://doi.org/10.1023/A:1007379606734.

    Args:
        width: H.
        tasks: T.
        widths: Width of each layer.
    """

    def __init__(self, width: int, tasks: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.num_tasks = tasks
        self._output_width = widths[-1]
        self.bottom = relu_layers(width, widths)

    @property
    def output_width(self) -> int:
        """D, the width of a representation."""
        return self._output_width

    @property
    def multiplications(self) -> int:
        """Multiplications per candidate."""
        return multiplications(self)

    def first_layers(self) -> list[nn.Linear]:
        """Return the first layer of the bottom."""
        first = self.bottom[0]
        assert isinstance(first, nn.Linear)
        return [first]

    def represent(self, *firsts: Tensor) -> Representations:
        """Represent every row once, for all tasks."""
        shared = self.bottom[1:](firsts[0]).unsqueeze(1).expand(-1, self.num_tasks, -1)
        return Representations(shared, shared)
