import pytest
import torch
from torch import nn

from ranker.networks.layers import BatchedLinear, SidesLinear, multiplications, relu_layers


def test_the_sides_add_up_to_one_linear_layer() -> None:
    layer = SidesLinear([3, 2, 0], 5)
    sides = [torch.randn(4, width) for width in (3, 2, 0)]

    torch.testing.assert_close(layer(sides), layer.linear(torch.cat(sides, dim=1)))


@pytest.mark.parametrize("single", [0, 1])
def test_a_side_with_one_row_holds_for_all_rows(single: int) -> None:
    layer = SidesLinear([3, 2, 4], 5)
    sides = [torch.randn(6, width) for width in (3, 2, 4)]
    sides[single] = sides[single][:1]
    everywhere = [side.expand(6, -1) for side in sides]

    torch.testing.assert_close(layer(sides), layer(everywhere))


def test_a_side_without_columns_still_says_how_many_rows_there_are() -> None:
    layer = SidesLinear([3, 0], 5)
    request = torch.randn(1, 3)

    output = layer([request, torch.zeros(4, 0)])

    torch.testing.assert_close(output, layer.linear(request).repeat(4, 1))
    torch.testing.assert_close(output.clone().relu_(), output.relu_())  # each row has memory of its own


def test_no_rows_give_no_rows() -> None:
    assert SidesLinear([3, 2], 5)([torch.randn(1, 3), torch.zeros(0, 2)]).shape == (0, 5)


def test_batched_layers_are_layers_of_their_own() -> None:
    layer = BatchedLinear(3, 4, 5)
    x = torch.randn(3, 7, 4)

    output = layer(x)

    for place in range(3):
        torch.testing.assert_close(output[place], x[place] @ layer.weight[place] + layer.bias[place])


def test_batched_layers_start_as_linear_layers_do() -> None:
    torch.manual_seed(0)
    batched, plain = BatchedLinear(8, 64, 128), nn.Linear(64, 128)

    assert batched.weight.abs().max() <= 1 / 8
    assert batched.bias.abs().max() <= 1 / 8
    torch.testing.assert_close(batched.weight.std(), plain.weight.std(), rtol=0.05, atol=0)


def test_every_layer_has_a_relu() -> None:
    network = relu_layers(3, [4, 5])
    first, second = network[0], network[2]
    x = torch.randn(6, 3)

    torch.testing.assert_close(network(x), second(first(x).relu()).relu())
    assert (network(x) >= 0).all()


def test_no_layers_change_nothing() -> None:
    x = torch.randn(2, 3)

    torch.testing.assert_close(relu_layers(3, [])(x), x)


@pytest.mark.parametrize(("networks", "expected"), [(None, 3 * 4 + 4 * 5), (6, 6 * (3 * 4 + 4 * 5))])
def test_multiplications_are_counted_without_biases(networks: int | None, expected: int) -> None:
    assert multiplications(relu_layers(3, [4, 5], networks=networks)) == expected
