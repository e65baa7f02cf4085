import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ranker.labels.binary import BinaryTask
from ranker.labels.label import Task
from ranker.labels.natural_units import natural_units
from ranker.labels.regression import LOG_LIMIT, RegressionTask
from ranker.objectives.losses import MultitaskLoss

TASKS = (
    BinaryTask(name="click", group="engagement", kind="binary", weight=2.0),
    RegressionTask(
        name="watch_time", group="engagement", kind="regression", transform="log1p", unit="s", weight=0.5
    ),
    RegressionTask(name="rating", group="satisfaction", kind="regression", unit="stars", weight=3.0),
)
NAN = math.nan
LABELS = torch.tensor([[1.0, 10.0, 4.0], [0.0, NAN, NAN], [NAN, 0.0, 1.0], [1.0, 3.0, NAN]])
LOGITS = torch.tensor([[0.3, 2.0, 3.5], [-1.2, 0.1, 0.2], [5.0, -0.4, 2.0], [0.9, 1.5, 9.0]])
WEIGHTS = torch.tensor([1.0, 0.5, 2.0, 0.0])


def row_loss(task: Task, logit: float, label: float) -> float:
    if task.kind == "binary":
        probability = 1 / (1 + math.exp(-logit))
        return -math.log(probability if label else 1 - probability)
    return (
        logit
        - (math.log1p(label) if isinstance(task, RegressionTask) and task.transform == "log1p" else label)
    ) ** 2


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_head_is_the_weighted_mean_over_its_labelled_rows(weights: Tensor | None) -> None:
    losses = MultitaskLoss(TASKS)(LOGITS, LABELS, weights)

    rows = torch.ones(4).tolist() if weights is None else weights.tolist()
    expected = []
    for place, task in enumerate(TASKS):
        known = [i for i in range(4) if not LABELS[i, place].isnan()]
        terms = [rows[i] * row_loss(task, LOGITS[i, place].item(), LABELS[i, place].item()) for i in known]
        expected.append(sum(terms) / sum(rows[i] for i in known))
    torch.testing.assert_close(losses.heads, torch.tensor(expected))
    total = 2.0 * expected[0] + 0.5 * expected[1] + 3.0 * expected[2]
    torch.testing.assert_close(losses.total, torch.tensor(total))


def test_a_missing_label_teaches_nothing_and_a_label_something() -> None:
    logits = LOGITS.clone().requires_grad_()

    MultitaskLoss(TASKS)(logits, LABELS).total.backward()

    assert logits.grad is not None
    assert torch.equal(logits.grad != 0, ~LABELS.isnan())


def test_a_missing_label_does_not_change_the_loss_of_others() -> None:
    fewer = LABELS[:, [0]]
    without = MultitaskLoss(TASKS[:1])(LOGITS[:, [0]], fewer).heads
    dropped = fewer[~fewer.isnan()].unsqueeze(1)

    torch.testing.assert_close(MultitaskLoss(TASKS[:1])(LOGITS[[0, 1, 3]][:, [0]], dropped).heads, without)


def test_a_head_without_labels_costs_nothing_and_teaches_nothing() -> None:
    logits = LOGITS.clone().requires_grad_()
    labels = LABELS.clone()
    labels[:, 1] = NAN

    losses = MultitaskLoss(TASKS)(logits, labels)
    losses.total.backward()

    assert losses.heads[1] == 0
    assert logits.grad is not None
    assert not logits.grad[:, 1].any()
    assert losses.total.isfinite()


def test_rows_without_weight_cost_and_teach_nothing() -> None:
    logits = LOGITS.clone().requires_grad_()

    losses = MultitaskLoss(TASKS)(logits, LABELS, torch.zeros(4))
    losses.total.backward()

    assert losses.total == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_row_of_weight_two_counts_as_two_rows() -> None:
    twice = MultitaskLoss(TASKS)(LOGITS[[0, 0, 1, 2, 3]], LABELS[[0, 0, 1, 2, 3]])

    weighted = MultitaskLoss(TASKS)(LOGITS, LABELS, torch.tensor([2.0, 1.0, 1.0, 1.0]))

    torch.testing.assert_close(weighted.heads, twice.heads)


def test_a_task_without_weight_is_measured_but_not_learned() -> None:
    logits = LOGITS[:, :1].clone().requires_grad_()
    task = TASKS[0].model_copy(update={"weight": 0.0})

    losses = MultitaskLoss([task])(logits, LABELS[:, :1])
    losses.total.backward()

    assert losses.heads[0] > 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_logit_that_is_no_number_shows_in_the_loss() -> None:
    logits = LOGITS.clone()
    logits[0, 1] = NAN

    assert MultitaskLoss(TASKS)(logits, LABELS).total.isnan()


def test_long_labels_stay_finite() -> None:
    losses = MultitaskLoss(TASKS)(torch.zeros(1, 3), torch.tensor([[1.0, 1e30, 1e10]]))

    assert losses.total.isfinite()
    torch.testing.assert_close(losses.heads[1], torch.tensor(math.log1p(1e30) ** 2))


@given(
    st.floats(1e-4, 1 - 1e-4),
    st.floats(0, 1e6),
    st.floats(-100, 100),
)
def test_natural_units_undo_what_the_network_learns_of(
    probability: float, seconds: float, stars: float
) -> None:
    outputs = torch.tensor([[math.log(probability / (1 - probability)), math.log1p(seconds), stars]])

    found = natural_units(outputs, TASKS)

    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [[probability, seconds, stars]], rtol=1e-4, atol=1e-5)


def test_predictions_stay_possible_and_finite() -> None:
    outputs = torch.tensor([[-1e9, -1e9, -5.0], [1e9, 1e9, 5.0]])

    low, high = natural_units(outputs, TASKS)

    assert low.tolist() == [0.0, 0.0, -5.0]
    assert high.tolist() == [1.0, pytest.approx(math.expm1(LOG_LIMIT)), 5.0]


def test_base_outputs_predict_the_mean_of_each_head() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.stack(
        [
            (torch.rand(10_000, generator=generator) < 0.2).float(),
            torch.rand(10_000, generator=generator) * 30,
            torch.rand(10_000, generator=generator) * 5,
        ],
        dim=1,
    )
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = NAN

    outputs = MultitaskLoss(TASKS).base_outputs(labels)

    rate = labels[:, 0].nanmean()
    torch.testing.assert_close(outputs[0], rate.logit(), rtol=1e-3, atol=0)
    torch.testing.assert_close(outputs[1], labels[:, 1].log1p().nanmean())
    torch.testing.assert_close(outputs[2], labels[:, 2].nanmean())


def test_base_outputs_do_not_depend_on_which_heads_are_alike() -> None:
    labels = torch.rand(257, 3, generator=torch.Generator().manual_seed(0)) * 30

    outputs = MultitaskLoss([TASKS[1], TASKS[2], TASKS[1]]).base_outputs(labels)

    means = [labels.log1p().nanmean(dim=0)[0], labels.nanmean(dim=0)[1], labels.log1p().nanmean(dim=0)[2]]
    assert torch.equal(outputs, torch.stack(means))  # bit by bit: a sum over some columns rounds otherwise


def test_base_outputs_are_where_the_loss_is_flat() -> None:
    loss = MultitaskLoss(TASKS)
    labels = LABELS.repeat(1000, 1)
    constant = loss.base_outputs(labels).requires_grad_()

    loss(constant.expand(4000, 3), labels).total.backward()

    assert constant.grad is not None
    torch.testing.assert_close(constant.grad, torch.zeros(3), rtol=0, atol=1e-3)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_head_of_equal_labels_starts_at_a_finite_output(label: float) -> None:
    (output,) = MultitaskLoss(TASKS[:1]).base_outputs(torch.full((100, 1), label))

    assert output.isfinite()
    assert (output > 0) == bool(label)


def test_a_head_without_labels_has_no_base_output() -> None:
    labels = torch.tensor([[NAN, 1.0, NAN]])

    assert MultitaskLoss(TASKS).base_outputs(labels).isnan().tolist() == [True, False, True]
