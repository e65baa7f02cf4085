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
        train: (B, T, D) float with dropout.
        eval: (B, T, D) float without dropout; the same tensor as `train` if there is no dropout.
    """

    train: Tensor
    eval: Tensor


class Sharing(nn.Module, ABC):
    """A way of sharing between tasks, from one shared layer to one representation per task.

    It begins with linear layers of the same input, which the service computes as one product.
    """

    @property
    @abstractmethod
    def output_width(self) -> int:
        """D, the width of a representation."""

    @property
    @abstractmethod
    def multiplications(self) -> int:
        """Multiplications per candidate."""

    @abstractmethod
    def first_layers(self) -> list[nn.Linear]:
        """Return the layers that read the shared layer."""

    @abstractmethod
    def represent(self, *firsts: Tensor) -> Representations:
        """Compute the representations from the outputs of the first layers.

        Args:
            firsts: For each of `first_layers`, (B, its width) float; they may be overwritten.
        """

    def forward(self, hidden_bh: Tensor) -> Representations:
        """Represent every row for every task.

        Args:
            hidden_bh: (B, H) float, the shared layer.
        """
        return self.represent(*(layer(hidden_bh) for layer in self.first_layers()))
