"""The contract of a network: outputs of heads from an input by sides.

Shape letters: B rows, I_g input width of side g, T tasks.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from ranker.spec_model import SpecModel


@dataclass(frozen=True)
class HeadOutputs:
    """One output per head, twice in training: logits of binary tasks, transformed values of regression tasks.

    Attributes:
        train: (B, T) float32 with dropout, the input of the loss.
        eval: (B, T) float32 without dropout, the input of predictions. It is the same tensor as `train` if
            there is no dropout, and otherwise not differentiable.
    """

    train: Tensor
    eval: Tensor


class Network(nn.Module, ABC):
    """The layers between the embedded input and the heads' outputs, without the position tower."""

    @property
    @abstractmethod
    def multiplications(self) -> int:
        """Multiplications per candidate, with nothing shared between candidates."""

    @abstractmethod
    def forward(self, sides: Sequence[Tensor]) -> HeadOutputs:
        """Compute the heads' outputs.

        Args:
            sides: For each side (B, I_g) float, or (1, I_g) for the same values in all rows.
        """

    @abstractmethod
    def start_at(self, output_t: Tensor) -> None:
        """Set every head's constant, so that learning starts from the base rate.

        Args:
            output_t: (T,) logits or transformed values; NaN keeps a head's constant.
        """

    @abstractmethod
    def shift(self, output_t: Tensor) -> None:
        """Add a constant to every head's output.

        Args:
            output_t: (T,) logits or transformed values.
        """


class SplitsBySides(ABC):
    """A network that begins with linear layers over its whole input.

    The service multiplies each side separately, keeps the videos' products, and computes only the sum and the
    layers after it per candidate. A network without this ability is served by its plain forward pass.
    """

    @abstractmethod
    def first_layers(self) -> list[nn.Linear]:
        """Return the layers that read the input, with the columns of all sides."""

    @property
    @abstractmethod
    def linear_path(self) -> nn.Linear | None:
        """The linear layer from the input to the heads; None if there is none."""

    @abstractmethod
    def rest(self, dtype: torch.dtype) -> nn.Module:
        """Return a copy of the layers after the first ones, for ranking.

        Args:
            dtype: Type of its products; outputs are float32.

        Returns:
            A module from (B, sum of the first layers' widths) to (B, T) float32, without the linear path; it
            may overwrite its argument.
        """


class NetworkSpec(SpecModel, ABC):
    """The part of the spec that all networks have.

    A subclass adds `kind` and its own keys, and names the keys with the widths that decide its cost.
    """

    scaled_keys: ClassVar[tuple[str, ...]]
    """Keys with the widths that `match_multiplications` scales."""

    kind: str
    position_dropout: float = Field(
        0.1, ge=0, le=1, description="Chance that a row's position is hidden in training."
    )

    @abstractmethod
    def build(self, widths: Sequence[int], tasks: int) -> Network:
        """Build the network.

        Args:
            widths: I_g of each side.
            tasks: T, the number of heads.
        """

    @classmethod
    @abstractmethod
    def like(cls, other: "NetworkSpec") -> Self:
        """Return a network of this kind with the layers that it shares with another one."""

    def scaled(self, factor: float) -> Self:
        """Return the network with the widths of `scaled_keys` multiplied by a factor, none below 1."""
        widths = {
            key: tuple(max(1, int(width * factor)) for width in getattr(self, key))
            for key in self.scaled_keys
        }
        return self.model_copy(update=widths)
