"""Ways of sharing between tasks: from one shared layer to one representation per task.

Shape letters: B rows, H width of the shared layer, T tasks, D width of a representation.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Representations:
    """One representation per task, twice in training.

    Attributes:
        train: (B, T, D) with dropout, to learn from.
        eval: (B, T, D) without any noise; the same tensor as `train` where there is none.
    """

    train: Tensor
    eval: Tensor


class Sharing(nn.Module, ABC):
    """A way of sharing between tasks, from one shared layer to one representation per task.

    It begins with linear layers, all of the same input, so that the service can join them to one product.
    """

    @property
    @abstractmethod
    def output_width(self) -> int:
        """D."""

    @property
    @abstractmethod
    def multiplications(self) -> int:
        """Multiplications per candidate."""

    @abstractmethod
    def first_layers(self) -> list[nn.Linear]:
        """The layers that read the shared layer."""

    @abstractmethod
    def represent(self, *firsts: Tensor) -> Representations:
        """Go on from what the first layers gave.

        Args:
            firsts: For each of `first_layers`, (B, its width); the callee may overwrite them.
        """

    def forward(self, hidden_bh: Tensor) -> Representations:
        """Represent every row for every task.

        Args:
            hidden_bh: (B, H), the shared layer.
        """
        return self.represent(*(layer(hidden_bh) for layer in self.first_layers()))
