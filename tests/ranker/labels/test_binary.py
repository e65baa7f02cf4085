from ranker.labels.binary import BinaryTask
from tests.ranker.labels.label_contract import LabelContract


class TestBinary(LabelContract):
    task = BinaryTask(name="target", group="engagement", kind="binary")
    labels = (0.0, 1.0)
