import torch

from ranker.networks.sharing.shared_bottom import SharedBottom, SharedBottomSpec
from tests.ranker.networks.network_contract import NetworkContract


class TestSharedBottom(NetworkContract):
    network = SharedBottomSpec(shared=(12,), bottom=(16, 10), tower=(5,))


def test_every_task_sees_the_same_representation() -> None:
    bottom = SharedBottom(7, 3, (9, 5))

    outputs = bottom(torch.randn(4, 7))

    assert outputs.eval is outputs.train
    assert outputs.eval.shape == (4, 3, 5)
    torch.testing.assert_close(outputs.eval[:, 0], outputs.eval[:, 2], rtol=0, atol=0)
