import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ranker.networks.sharing.mmoe import MMoE, MMoESpec, drop_experts
from tests.ranker.networks.network_contract import NetworkContract

NETWORK = MMoESpec(experts=3, expert=(5, 4), gate_dropout=0.5)
ROWS, WIDTH, TASKS = 6, 7, 2


class TestMMoE(NetworkContract):
    network = MMoESpec(shared=(12,), experts=3, expert=(8, 6), tower=(5,), gate_dropout=0.5)


@pytest.fixture
def model() -> MMoE:
    torch.manual_seed(0)
    return MMoE(WIDTH, TASKS, NETWORK).eval()


@pytest.fixture
def hidden() -> Tensor:
    return torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1))


def test_every_expert_is_a_network_of_its_own(model: MMoE, hidden: Tensor) -> None:
    weights = model.first.weight.unflatten(0, (3, 5))
    biases = model.first.bias.unflatten(0, (3, 5))
    second = model.further[0]

    experts = model.experts(model.first(hidden))

    assert experts.shape == (3, ROWS, 4)
    for place in range(3):
        first = (hidden @ weights[place].T + biases[place]).relu()
        expected = (first @ second.weight[place] + second.bias[place]).relu()
        torch.testing.assert_close(experts[place], expected)


def test_equal_gates_average_the_experts(model: MMoE, hidden: Tensor) -> None:
    nn.init.zeros_(model.gates.weight)
    nn.init.zeros_(model.gates.bias)

    representation = model(hidden).eval

    for task in range(TASKS):
        torch.testing.assert_close(representation[:, task], model.experts(model.first(hidden)).mean(dim=0))


def test_each_task_has_a_gate_of_its_own(model: MMoE, hidden: Tensor) -> None:
    nn.init.zeros_(model.gates.weight)
    with torch.no_grad():
        model.gates.bias.copy_(torch.tensor([100.0, 0, 0, 0, 0, 100.0]))

    representation = model(hidden).eval
    experts = model.experts(model.first(hidden))

    torch.testing.assert_close(representation[:, 0], experts[0])
    torch.testing.assert_close(representation[:, 1], experts[2])


def test_gates_depend_on_the_row(model: MMoE, hidden: Tensor) -> None:
    gates = model.gate_weights(model.gates(hidden))

    torch.testing.assert_close(gates.sum(dim=-1), torch.ones(ROWS, TASKS))
    assert (gates[0] - gates[1]).abs().max() > 1e-3


def test_no_expert_is_left_out_when_ranking(model: MMoE, hidden: Tensor) -> None:
    first, second = model(hidden), model(hidden)

    assert first.eval is first.train
    torch.testing.assert_close(first.eval, second.eval, rtol=0, atol=0)


def test_training_leaves_experts_out_of_what_is_learned_from_but_not_of_predictions(
    model: MMoE, hidden: Tensor
) -> None:
    ranking = model(hidden).eval
    model.train()

    training = model(hidden)

    torch.testing.assert_close(training.eval, ranking)
    assert (training.train - training.eval).abs().max() > 1e-3
    assert training.train.requires_grad
    assert not training.eval.requires_grad


def test_experts_that_agree_are_heard_whoever_is_left_out(model: MMoE, hidden: Tensor) -> None:
    for parameter in (model.first.weight, model.first.bias):
        parameter.data.copy_(parameter.data[:5].repeat(3, *[1] * (parameter.dim() - 1)))
    for parameter in (model.further[0].weight, model.further[0].bias):
        parameter.data.copy_(parameter.data[:1].repeat(3, 1, 1))

    training = model.train()(hidden)

    torch.testing.assert_close(training.train, training.eval)


def test_without_gate_dropout_training_is_as_ranking(hidden: Tensor) -> None:
    model = MMoE(WIDTH, TASKS, NETWORK.model_copy(update={"gate_dropout": 0.0}))

    training = model(hidden)

    assert training.eval is training.train


def gates_of(logits: list[list[float]]) -> Tensor:
    return torch.tensor(logits).softmax(dim=-1).unsqueeze(0)


@given(
    st.lists(st.lists(st.floats(-200, 200), min_size=3, max_size=3), min_size=1, max_size=4),
    st.floats(0, 0.99),
    st.integers(0, 2**32),
)
def test_the_experts_that_are_left_share_the_whole_weight(
    logits: list[list[float]], chance: float, seed: int
) -> None:
    torch.manual_seed(seed)

    kept = drop_experts(gates_of(logits), chance)

    torch.testing.assert_close(kept.sum(dim=-1), torch.ones(kept.shape[:-1]))
    assert (kept >= 0).all()


def test_a_gate_never_loses_all_its_experts() -> None:
    gate = gates_of([[0.0, 1.0, 2.0]]).expand(1000, 1, 3)
    torch.manual_seed(0)

    torch.testing.assert_close(drop_experts(gate, 0.999).sum(dim=-1), torch.ones(1000, 1))


def test_the_experts_that_are_left_keep_their_proportions() -> None:
    gate = gates_of([[0.0, 1.0, 2.0]]).expand(1000, 1, 3)
    torch.manual_seed(0)

    kept = drop_experts(gate, 0.5)[:, 0]

    first_and_last = kept[(kept[:, 0] > 0) & (kept[:, 1] == 0) & (kept[:, 2] > 0)]
    assert len(first_and_last) > 50
    ratio = first_and_last[:, 2] / first_and_last[:, 0]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 2.0).exp())


def test_experts_are_left_out_with_the_given_chance_and_equally_often() -> None:
    experts, chance, draws = 4, 0.3, 40_000
    gate = torch.full((draws, 1, experts), 1 / experts)
    torch.manual_seed(0)

    kept = drop_experts(gate, chance)

    dropped = (kept == 0).float().mean().item()
    assert abs(dropped - (chance - chance**experts)) < 0.005  # a gate that would lose all keeps all
    torch.testing.assert_close(kept.mean(dim=0), torch.full((1, experts), 0.25), rtol=0, atol=0.005)


def test_without_chance_nothing_is_left_out() -> None:
    gate = gates_of([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]])

    torch.testing.assert_close(drop_experts(gate, 0.0), gate)


def test_saturated_gates_have_finite_gradients() -> None:
    logits = torch.tensor([[[90.0, 0.0, -90.0]]]).repeat(200, 1, 1).requires_grad_()
    torch.manual_seed(0)

    (drop_experts(logits.softmax(dim=-1), 0.5) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()

    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_multiplications_are_those_of_experts_gates_and_mixing(model: MMoE) -> None:
    experts = 7 * (3 * 5) + 3 * (5 * 4)
    gates = 7 * (2 * 3)
    mixing = 2 * 3 * 4

    assert model.multiplications == experts + gates + mixing
    assert model.output_width == 4
