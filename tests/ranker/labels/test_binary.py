import numpy as np
import pytest
import torch

from ranker.labels.binary import BinaryTask
from ranker.labels.label import Means
from tests.ranker.labels.label_contract import LabelContract

TASK = BinaryTask(name="target", group="engagement", kind="binary")


def logit(chance: float) -> float:
    return float(np.log(chance / (1 - chance)))


class TestBinary(LabelContract):
    task = TASK
    labels = (0.0, 1.0)


def shift(rows: float, labels: float, predictions: float, slope: float) -> float:
    (found,) = TASK.shift(Means(*(np.array([x]) for x in (rows, labels, predictions, slope))))
    return float(found)


def test_a_mean_is_drawn_to_a_half_by_half_a_row_of_each_label() -> None:
    assert shift(3, 0, 1.5, 0.75) == pytest.approx(logit(0.5 / 4) - logit(2 / 4), rel=0.01)


def test_a_shift_is_made_at_most_three_times_as_large_for_spread_predictions() -> None:
    plain, spread, all_certain = (shift(10_000, 2_000, 1_000, slope) for slope in (900.0, 450.0, 0.0))

    assert spread == pytest.approx(2 * plain, rel=1e-3)
    assert all_certain == pytest.approx(3 * plain, rel=1e-3)


def test_the_first_output_of_a_head_is_of_a_chance_of_a_millionth_at_least() -> None:
    total, count = torch.tensor([0.0]), torch.tensor([10**9])

    assert TASK.base_outputs(total, count).item() == pytest.approx(logit(1e-6), rel=1e-4)


def test_row_losses_are_those_that_training_makes_small() -> None:
    outputs, labels = torch.linspace(-3, 3, 20)[:, None], torch.arange(20)[:, None] % 2.0
    found = TASK.row_losses(labels[:, 0].double().numpy(), outputs[:, 0].double().sigmoid().numpy())
    np.testing.assert_allclose(found, TASK.loss(outputs, labels)[:, 0].numpy(), rtol=1e-5)
