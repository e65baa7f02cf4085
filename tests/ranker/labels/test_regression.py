import numpy as np
import pytest
import torch

from ranker.labels.label import Means
from ranker.labels.regression import RegressionTask
from tests.ranker.labels.label_contract import LabelContract


class TestAmounts(LabelContract):
    task = RegressionTask(name="target", group="satisfaction", kind="regression", unit="stars")
    labels = (-1.0, 1.0, 2.0, 5.0)


class TestLogarithms(LabelContract):
    task = RegressionTask(
        name="target", group="engagement", kind="regression", transform="log1p", unit="s", column="seconds"
    )
    labels = (0.0, 3.0, 20.0, 90.0)


def test_a_log1p_head_is_never_made_less_than_a_tenth() -> None:
    ones, none, many = (np.array([x]) for x in (1.0, 0.0, 1e6))

    (found,) = TestLogarithms.task.shift(Means(ones, none, many, ones))

    assert found == pytest.approx(np.log(0.1))


def test_a_label_below_0_is_learned_as_0_where_the_logarithm_is() -> None:
    assert TestLogarithms.task.target(torch.tensor([[-2.0, 0.0]])).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("task", [TestAmounts.task, TestLogarithms.task])
def test_row_losses_are_those_that_training_makes_small(task: RegressionTask) -> None:
    outputs, labels = torch.linspace(0, 3, 20)[:, None], torch.arange(20.0)[:, None]
    predictions = task.natural_units(outputs.double())[:, 0].numpy()
    found = task.row_losses(labels[:, 0].double().numpy(), predictions)
    np.testing.assert_allclose(found, task.loss(outputs, labels)[:, 0].numpy(), rtol=1e-5, atol=1e-9)


def test_the_mean_is_learned_unless_the_logarithm_is() -> None:
    assert TestAmounts.task.learns_mean
    assert not TestLogarithms.task.learns_mean
