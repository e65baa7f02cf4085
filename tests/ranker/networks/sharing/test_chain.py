"""A network that neither splits by sides nor keeps its heads apart needs no change elsewhere."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, Self

import pytest
import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from ranker.networks.layers import multiplications, relu_layers
from ranker.networks.sharing.base import HeadOutputs, Network, NetworkSpec
from ranker.networks.sharing.mmoe import MMoESpec
from ranker.networks.sharing.shared_bottom import SharedBottomSpec
from ranker.spec import RankerSpec
from tests.ranker.networks.network_contract import NetworkContract


class ChainSpec(NetworkSpec):
    """Every head's event happens only if the one of the head before has happened."""

    scaled_keys: ClassVar = ("bottom",)

    kind: Literal["chain"] = "chain"
    bottom: tuple[PositiveInt, ...] = (8,)

    def build(self, widths: Sequence[int], tasks: int) -> "Chain":
        return Chain(sum(widths), tasks, self.bottom)

    @classmethod
    def like(cls, other: NetworkSpec) -> Self:
        return cls(bottom=getattr(other, other.scaled_keys[0]))


class Chain(Network):
    """The product of conditional probabilities, and a constant for each head.

    Source: the idea of ESMM, Ma et al., SIGIR 2018, arXiv 1804.07931.
    """

    def __init__(self, width: int, tasks: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.bottom = relu_layers(width, widths)
        self.conditional = nn.Linear(widths[-1], tasks)
        self.constant = nn.Parameter(torch.zeros(tasks))

    @property
    def multiplications(self) -> int:
        return multiplications(self)

    def forward(self, sides: Sequence[Tensor]) -> HeadOutputs:
        count = max({len(side) for side in sides} - {1}, default=1)
        x = torch.cat([side.expand(count, -1) for side in sides], dim=1)
        log_chance = nn.functional.logsigmoid(self.conditional(self.bottom(x)).float()).cumsum(dim=1)
        logit = log_chance - (-torch.expm1(log_chance)).clamp_min(1e-6).log() + self.constant
        return HeadOutputs(logit, logit)

    @torch.no_grad()
    def start_at(self, output_t: Tensor) -> None:
        self.constant.copy_(torch.where(output_t.isnan(), self.constant, output_t.to(self.constant)))

    @torch.no_grad()
    def shift(self, output_t: Tensor) -> None:
        self.constant += output_t.to(self.constant)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """What a line in the registry does."""
    field = RankerSpec.model_fields["network"]
    shipped = field.annotation
    field.annotation = MMoESpec | SharedBottomSpec | ChainSpec  # type: ignore[assignment]
    RankerSpec.model_rebuild(force=True)
    yield
    field.annotation = shipped
    RankerSpec.model_rebuild(force=True)
    RankerSpec.model_rebuild(force=True)


class TestChain(NetworkContract):
    network = ChainSpec(bottom=(12, 8))


def test_later_heads_are_never_likelier_than_earlier_ones() -> None:
    torch.manual_seed(0)
    chain = ChainSpec().build((3, 4), 3)

    logit = chain([torch.randn(50, 3), torch.randn(50, 4)]).eval

    assert (logit[:, 1:] < logit[:, :-1]).all()
    first = chain.conditional(chain.bottom(torch.zeros(1, 7)))[:, 0]
    torch.testing.assert_close(chain([torch.zeros(1, 3), torch.zeros(1, 4)]).eval[:, 0], first)
