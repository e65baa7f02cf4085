import pytest
import torch
from torch import Tensor, nn

from ranker.networks.position import PositionTower

SIZES, HEADS = (5, 3), 2
ALL_CELLS = torch.cartesian_prod(torch.arange(5), torch.arange(3))


def tower(dropout: float = 0.0) -> PositionTower:
    torch.manual_seed(0)
    built = PositionTower(SIZES, HEADS, dropout)
    for parameter in built.parameters():
        nn.init.normal_(parameter)
    return built


def test_a_fresh_tower_says_nothing() -> None:
    assert not PositionTower(SIZES, HEADS, 0.0)(ALL_CELLS).any()


def test_a_row_without_position_and_device_has_no_bias() -> None:
    model = tower()

    assert model(torch.tensor([[0, 0]])).tolist() == [[0.0, 0.0]]
    assert model(torch.tensor([[0, 1], [1, 0]])).all()


def test_the_bias_is_that_of_each_value_and_of_the_combination() -> None:
    model = tower()

    (found,) = model(torch.tensor([[4, 2]]))

    torch.testing.assert_close(found, model.values[0][4] + model.values[1][2] + model.cross[4 * 3 + 2])


def test_every_combination_has_a_bias_of_its_own() -> None:
    found = tower()(ALL_CELLS)

    assert len({tuple(row) for row in found.tolist()}) == 15


def hidden(bias: Tensor) -> Tensor:
    return (bias == 0).all(dim=1)


@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
def test_positions_are_hidden_row_by_row_with_the_given_chance(dropout: float) -> None:
    model = tower(dropout).train()
    rows = torch.tensor([[2, 1]]).repeat(20_000, 1)

    bias = model(rows)

    assert abs(hidden(bias).float().mean().item() - dropout) < 0.01
    torch.testing.assert_close(bias[~hidden(bias)], model.eval()(rows)[~hidden(bias)])


def test_no_position_is_hidden_outside_training() -> None:
    assert not hidden(tower(1.0).eval()(torch.tensor([[2, 1]]))).any()


def test_a_hidden_position_learns_nothing() -> None:
    model = tower(1.0).train()

    model(torch.tensor([[2, 1], [3, 0]])).sum().backward()

    for parameter in model.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()
