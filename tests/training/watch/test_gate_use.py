"""Gates that have polarised, and gates that have not."""

import pytest
import torch

from ranker.networks.sharing.mmoe import MMoE
from tests.ranker.small_spec import SMALL_SPEC, random_records, small_spec
from training.trainer import Trainer
from training.watch.gate_use import GateUse, gate_alarm, gate_use


def used(trainer: Trainer) -> list[GateUse]:
    trainer.model.eval()
    return gate_use(trainer.model, trainer.encoder.read_examples(random_records(200)).encoded)


def test_equal_gates_have_all_the_entropy_and_no_alarm() -> None:
    trainer = Trainer(SMALL_SPEC, seed=0)
    sharing = trainer.model.network.sharing
    assert isinstance(sharing, MMoE)
    torch.nn.init.zeros_(sharing.gates.weight)
    torch.nn.init.zeros_(sharing.gates.bias)

    found = used(trainer)

    assert [(use.entropy, use.top_share) for use in found] == [pytest.approx((1, 1 / 3), rel=1e-5)] * 4
    assert [gate_alarm("click", use) for use in found] == [None] * 4


def test_a_gate_on_one_expert_is_an_alarm_of_its_head_alone() -> None:
    trainer = Trainer(SMALL_SPEC, seed=0)
    sharing = trainer.model.network.sharing
    assert isinstance(sharing, MMoE)
    with torch.no_grad():
        sharing.gates.bias[4] += 20.0  # the second head's second expert

    alarms = [gate_alarm(task.name, use) for task, use in zip(SMALL_SPEC.tasks, used(trainer), strict=True)]

    assert [alarm is not None for alarm in alarms] == [False, True, False, False]
    assert str(alarms[1]) == (
        "gate, watch_time: expected at most 95% of a gate's weight on one expert, "
        "found 100.0%, with 0.0% of the entropy of equal weights"
    )


def test_a_network_without_gates_has_no_use_of_them() -> None:
    assert used(Trainer(small_spec(kind="shared_bottom"), seed=0)) == []
