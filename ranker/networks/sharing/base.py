"""What a network is to the rest: outputs of heads from an input that comes by sides.

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
        train: (B, T) float32 with dropout, to learn from.
        eval: (B, T) float32 without any noise: what a prediction is made from. The same tensor as `train`
            where there is no noise; else not differentiable.
    """

    train: Tensor
    eval: Tensor


class Network(nn.Module, ABC):
    """Everything between the embedded input and the heads' outputs, but for the position tower."""

    @property
    @abstractmethod
    def multiplications(self) -> int:
        """Multiplications per candidate, with nothing reused between candidates."""

    @abstractmethod
    def forward(self, sides: Sequence[Tensor]) -> HeadOutputs:
        """Compute the heads' outputs.

        Args:
            sides: For each side (B, I_g), or (1, I_g) to be the same for all rows.
        """

    @abstractmethod
    def start_at(self, output_t: Tensor) -> None:
        """Make every head's constant a given one, so that learning starts from its base rate.

        Args:
            output_t: (T,) logits or transformed values; NaN leaves a head as it is.
        """

    @abstractmethod
    def shift(self, output_t: Tensor) -> None:
        """Add a constant to every head's output.

        Args:
            output_t: (T,) logits or transformed values.
        """


class SplitsBySides(ABC):
    """The ability of a network that begins with linear layers over its whole input.

    The service then multiplies each side on its own, keeps what videos add, and computes in full only what
    comes after the sum. A network without this ability is served by its plain forward pass.
    """

    @abstractmethod
    def first_layers(self) -> list[nn.Linear]:
        """The layers that read the input, all sides next to each other."""

    @property
    @abstractmethod
    def linear_path(self) -> nn.Linear | None:
        """The layer that leads from the input straight to the heads; None if there is none."""

    @abstractmethod
    def rest(self, dtype: torch.dtype) -> nn.Module:
        """What comes after the first layers, as a copy for ranking.

        Args:
            dtype: Of its products; outputs are float32.

        Returns:
            A module that turns (B, widths of the first layers) into (B, T) float32, without the linear path;
            it may overwrite its argument.
        """


class NetworkSpec(SpecModel, ABC):
    """The part of the spec that every network has.

    A subclass adds `kind` and its own keys, and names those with the widths that grow and shrink with its
    cost.
    """

    scaled_keys: ClassVar[tuple[str, ...]]
    """The keys whose widths `match_multiplications` scales."""

    kind: str
    position_dropout: float = Field(
        0.1, ge=0, le=1, description="Chance that a row's position is hidden in training."
    )

    @abstractmethod
    def build(self, widths: Sequence[int], tasks: int) -> Network:
        """Make the network.

        Args:
            widths: I_g of each side.
            tasks: T.
        """

    @classmethod
    @abstractmethod
    def like(cls, other: "NetworkSpec") -> Self:
        """A network of this kind with the layers of another one, as far as it has such."""

    def scaled(self, factor: float) -> Self:
        """The same network with the widths of `scaled_keys` multiplied, none below 1."""
        widths = {
            key: tuple(max(1, int(width * factor)) for width in getattr(self, key))
            for key in self.scaled_keys
        }
        return self.model_copy(update=widths)
