"""Which bundles are held back, and why."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranker.bundles.registry import Registry
from ranker.bundles.verdict import Verdict
from ranker.gate_spec import GateSpec
from ranker.spec import RankerSpec
from tests.training.gate.worlds import RUN, SPEC, World
from training.gate.judge import judge, summary
from training.publish import publish


def with_gate(gate: Any) -> RankerSpec:
    return SPEC.model_copy(update={"training": SPEC.training.model_copy(update={"gate": gate})})


def judged(world: World, registry: Registry) -> Verdict:
    return judge(world.loop.trainer, world.window, registry)


def published(world: World, registry: Registry, batches: int = 12) -> str:
    """What a world has learned after so many batches, made current."""
    world.learn(batches)
    return publish(world.loop, registry, RUN, judged(world, registry))


def shift(world: World, *logits: float) -> None:
    """Let exported heads have something added to their outputs."""
    shifts = world.loop.trainer.correction.shifts
    world.loop.trainer.correction.shifts = lambda: shifts() + np.array(logits)  # type: ignore[method-assign]


def test_a_sound_bundle_passes_and_the_figures_say_on_what(tmp_path: Path) -> None:
    world, registry = World(), Registry(str(tmp_path))
    first = published(world, registry, 30)
    assert registry.manifest(first).gate == Verdict(compared_with=None, remark="no bundle ranks yet")
    world.learn(8)

    found = judged(world, registry)

    assert found.passed
    assert found.compared_with == first
    assert (found.rows, found.viewers) == (8 * 256, 100)
    click = found.heads["click"]
    assert click["auc_unseen"] == pytest.approx(0.8, abs=0.1)
    assert click["calibration"] == pytest.approx(1, abs=0.1)
    assert click.keys() == {
        *("calibration_before", "calibration", "loss_before", "loss_unseen", "loss"),
        *("auc_before", "auc_unseen", "auc"),
    }
    assert found.psi is not None
    assert found.psi < 0.5
    assert "2,048 rows of 100 viewers that neither has learned, AUC of click 0." in summary(found)


def test_judging_leaves_the_trainer_as_it_was(tmp_path: Path) -> None:
    undisturbed = World()
    undisturbed.learn(8)
    world, registry = World(), Registry(str(tmp_path))
    published(world, registry, 4)
    world.learn(2)
    assert judged(world, registry).compared_with is not None
    world.learn(2)
    expected = undisturbed.loop.trainer.model.state_dict()
    assert all(t.equal(expected[name]) for name, t in world.loop.trainer.model.state_dict().items())


def test_a_head_whose_bias_has_moved_is_held_back(tmp_path: Path) -> None:
    world, registry = World(), Registry(str(tmp_path))
    published(world, registry)
    world.learn(8)
    shift(world, 5.0, 0.0)

    reasons = "\n".join(judged(world, registry).reasons)

    assert "click: expected a mean prediction for recent requests within a factor 3 of 0." in reasons
    assert "click: expected a loss at most 5% above the 0." in reasons
    assert "watch_time" not in reasons


def test_a_bundle_that_has_learned_shuffled_labels_is_held_back_while_they_come_and_afterwards(
    tmp_path: Path,
) -> None:
    world, registry = World(), Registry(str(tmp_path))
    published(world, registry)
    assert published(world, registry, 8) == registry.versions()[-1]
    world.learn(20, shuffled=True)
    during = judged(world, registry)
    world.window.load_state_dict({})  # as after many more rows
    world.learn(2)
    afterwards = judged(world, registry)

    assert not during.passed
    assert "labels may be wrong" in during.reasons[0]
    assert not afterwards.passed
    assert "click: expected a loss on rows not yet learned at most 5% above the" in "".join(
        afterwards.reasons
    )


def test_rows_that_the_ranking_bundle_has_learned_say_nothing(tmp_path: Path) -> None:
    world, registry = World(), Registry(str(tmp_path))
    published(world, registry)

    found = judged(world, registry)

    assert (found.rows, found.heads["click"]) == (0, {})
    assert found.passed


def test_answers_that_moved_far_are_held_back_without_a_label(tmp_path: Path) -> None:
    world, registry = World(), Registry(str(tmp_path))
    published(world, registry)
    shift(world, 4.0, 0.0)

    found = judged(world, registry)

    assert found.rows == 0
    assert any(
        "click: expected a mean prediction for recent requests within a factor 3" in reason
        for reason in found.reasons
    )


def test_a_far_move_for_the_better_passes(tmp_path: Path) -> None:
    world, registry = World(), Registry(str(tmp_path))
    world.learn(12)
    shift(world, 4.0, 0.0)
    publish(world.loop, registry, RUN)  # what ranks is broken
    shift(world, -4.0, 0.0)
    world.learn(4)

    assert judged(world, registry).passed


def test_the_losses_of_a_head_that_nobody_answers_hold_nothing_back(tmp_path: Path) -> None:
    """Its loss is next to nothing, so every other one is surely worse in proportion."""
    world, registry = World(), Registry(str(tmp_path))
    world.learn(8, never="click")
    publish(world.loop, registry, RUN)
    world.learn(1, never="click")
    shift(world, 1.0, 0.0)

    found = judged(world, registry)

    assert (found.heads["click"]["loss"] or 0) > 1.5 * (found.heads["click"]["loss_before"] or 0) > 0
    assert not any(reason.startswith("click:") for reason in found.reasons)


def test_in_its_first_steps_a_run_is_not_held_back_for_what_it_predicted_before(tmp_path: Path) -> None:
    """Weights as they are learn in leaps then, and what ranks is their average."""
    world, registry = World(), Registry(str(tmp_path))
    published(world, registry, 8)
    world.learn(1)
    world.learn(20, shuffled=True)
    world.window.load_state_dict({})
    world.learn(1)
    trainer = world.loop.trainer
    settled = judged(world, registry)
    trainer.average.steps.fill_(9)
    unsettled = judged(world, registry)

    assert any("on rows not yet learned" in reason for reason in settled.reasons)
    assert not any("on rows not yet learned" in reason for reason in unsettled.reasons)


@pytest.mark.parametrize(
    ("gate", "expected"),
    [({"psi": 1e-9, "loss": 1e9}, "scores: expected a stability index"), ({"overlap": 1.0}, "top 20: exp")],
)
def test_bounds_are_those_of_the_spec(tmp_path: Path, gate: dict[str, float], expected: str) -> None:
    world, registry = World(with_gate(GateSpec(**gate))), Registry(str(tmp_path))
    published(world, registry)
    world.learn(4)
    shift(world, 2.0, 1.0)  # so that it is not better

    assert any(reason.startswith(expected) for reason in judged(world, registry).reasons)


def test_nothing_is_held_back_without_a_gate_nor_for_another_spec(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path))
    version = published(World(), registry)
    off = World(with_gate("off"))
    off.learn(2)
    assert judged(off, registry).remark == "the gate is off"
    tasks = (SPEC.tasks[0],)
    other = World(SPEC.model_copy(update={"tasks": tasks}))
    other.learn(2)
    found = judged(other, registry)
    assert found.passed
    assert found.remark == f"{version} cannot be compared: it has other features or tasks"
