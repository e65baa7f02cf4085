import pytest
import torch

from ranker.networks.towers import Towers


@pytest.mark.parametrize("widths", [(), (3,), (3, 2)])
def test_every_task_has_a_tower_of_its_own(widths: tuple[int, ...]) -> None:
    towers = Towers(4, 2, widths)
    x = torch.randn(6, 2, 4)

    output = towers(x)

    assert output.shape == (6, 2)
    for task in range(2):
        hidden = x[:, task]
        for layer in list(towers.hidden)[::2]:
            hidden = (hidden @ layer.weight[task] + layer.bias[task]).relu()
        expected = hidden @ towers.output.weight[task] + towers.output.bias[task]
        torch.testing.assert_close(output[:, task], expected[:, 0])


def test_a_tower_starts_at_the_given_output() -> None:
    towers = Towers(4, 3, (5,))
    torch.nn.init.zeros_(towers.output.weight)
    before = towers(torch.zeros(1, 3, 4))

    towers.start_at(torch.tensor([1.5, torch.nan, -2.0]))

    after = towers(torch.zeros(1, 3, 4))
    assert after.tolist() == [[1.5, before[0, 1].item(), -2.0]]
    assert towers.output.bias.requires_grad
