"""Padding, and whose memory is whose; what CUDA records is tested with the serving form of a network."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ranker.networks.cuda_graphs import SIZES, CudaGraphs

WIDTH, OUTPUT = 3, 2


def record(forward: Callable[[Tensor], Tensor], samples: tuple[Tensor]) -> Callable[[Tensor], Tensor]:
    """As a CUDA graph does: it reads one tensor, always the same, and overwrites another."""
    (recorded,) = samples
    output = forward(recorded.clone())

    def replay(x: Tensor) -> Tensor:
        assert x is recorded
        return output.copy_(forward(x))

    return replay


class Overwriting(nn.Module):
    """A layer that spoils its input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, OUTPUT)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x.relu_())
        return output


@pytest.fixture
def module() -> Overwriting:
    torch.manual_seed(0)
    return Overwriting()


@pytest.fixture
def graphs(module: Overwriting, monkeypatch: pytest.MonkeyPatch) -> CudaGraphs:
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    return CudaGraphs(module, WIDTH, torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("rows", [0, 1, SIZES[0], SIZES[0] + 1, SIZES[-1], SIZES[-1] + 1])
def test_a_batch_of_any_size_gets_the_modules_output(
    graphs: CudaGraphs, module: Overwriting, rows: int
) -> None:
    graphs(torch.full((rows, WIDTH), 1e6))  # what a batch leaves behind does not reach the next one
    x = torch.randn(rows, WIDTH)

    torch.testing.assert_close(graphs(x.clone()), module.layer(x.relu()))


def test_the_next_batch_leaves_the_last_ones_output_alone(graphs: CudaGraphs) -> None:
    first = graphs(torch.randn(5, WIDTH))
    expected = first.clone()

    graphs(torch.randn(7, WIDTH))

    torch.testing.assert_close(first, expected, rtol=0, atol=0)
