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
