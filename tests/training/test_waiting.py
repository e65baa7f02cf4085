"""When rows are learned: each head once its label's wait has passed, and never before."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from ranker.bundles.registry import Registry
from ranker.errors import SpecError
from ranker.features.batch import Encoded
from ranker.features.encoder import Encoder
from ranker.labels.matrix import known_by, label_matrix
from ranker.metrics.exact import auc
from ranker.spec import RankerSpec
from ranker.spec_file import parse_spec
from tests.ranker.features.small_encoder import everything
from tests.serving.state_ranker import FIRST_MS, STATE_SPEC, log_of
from tests.training.record_source import RecordSource
from tests.training.toy import TOY_SPEC, toy_batch, weights_of, with_column
from training.checkpoint import RunIdentity, restore, save
from training.evaluate import FeatureMode, evaluate
from training.loop import TrainingLoop
from training.publish import publish
from training.sources.base import SourceBatch
from training.trainer import Trainer
from training.waiting import Turn, turns_of

DAY_MS = 86_400_000


def waiting(spec: RankerSpec, **waits: str) -> RankerSpec:
    """The spec with other waits of some labels."""
    tasks = [
        type(task).model_validate({**task.model_dump(), "label_wait": waits.get(task.name, task.label_wait)})
        for task in spec.tasks
    ]
    return spec.model_copy(update={"tasks": tuple(tasks)})


def toy_log(batches: int, hours: float = 1.0) -> list[pa.RecordBatch]:
    """Batches of some hours each."""
    log = [toy_batch(seed) for seed in range(batches)]
    stretch = hours * 3_600_000 / 256
    return [
        with_column(batch, "time_ms", (batch.column("time_ms").to_numpy() * stretch).astype(np.int64))
        for batch in log
    ]


def predicted(spec: RankerSpec, log: list[pa.RecordBatch], *, arrived: bool = False) -> list[np.ndarray]:
    """What a fresh trainer predicts of each batch."""
    trainer = Trainer(spec, seed=0)
    return [trainer.step(batch, arrived=arrived).predictions for batch in log]


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        ({}, [(0, "click watch_time")]),
        ({"click": "1m"}, [(60_000, "click watch_time")]),
        ({"click": "1h", "watch_time": "5m"}, [(3_600_000, "click watch_time")]),
        ({"click": "2h", "watch_time": "5m"}, [(300_000, "watch_time"), (7_200_000, "click")]),
        ({"click": "2h", "watch_time": "7d"}, [(7_200_000, "click"), (7 * DAY_MS, "watch_time")]),
    ],
)
def test_heads_that_wait_for_long_learn_a_row_by_themselves(
    waits: dict[str, str], expected: list[tuple[int, str]]
) -> None:
    tasks = waiting(TOY_SPEC, **waits).tasks

    turns = turns_of(tasks, late_after_s=3_600)

    named = [" ".join(t.name for t, own in zip(tasks, turn.heads, strict=True) if own) for turn in turns]
    assert [(turn.wait_ms, heads) for turn, heads in zip(turns, named, strict=True)] == expected


@pytest.mark.parametrize(
    "waits", [{"click": "90m", "watch_time": "5m"}, {"click": "5h"}, {"watch_time": "3h"}]
)
def test_no_prediction_knows_a_label_before_its_wait_is_over(waits: dict[str, str]) -> None:
    """Whatever the labels that are not known yet say, the predictions so far are the same, bit for bit."""
    spec, log = waiting(TOY_SPEC, **waits), toy_log(12)
    cut = 8
    cut_ms = log[cut].column("time_ms")[0].as_py()
    told = []
    for batch in log[:cut]:
        labels = label_matrix(batch, spec.tasks)
        known = ~np.isnan(known_by(cut_ms, labels, batch.column("time_ms").to_numpy(), spec.tasks))
        other = np.where(known, labels, 1 - labels.clip(0, 1))
        told.append(with_column(with_column(batch, "click", other[:, 0]), "watch_time", other[:, 1]))
    assert any(not left.equals(right) for left, right in zip(log, told, strict=False))

    ours, theirs = predicted(spec, log), predicted(spec, [*told, *log[cut:]])
    assert all((left == right).all() for left, right in zip(ours[: cut + 1], theirs, strict=False))
    assert (ours[-1] != theirs[-1]).any()


def test_every_head_learns_every_row_once() -> None:
    spec, log = waiting(TOY_SPEC, click="3h"), toy_log(6)
    trainer = Trainer(spec, seed=0)
    learned: list[tuple[int, tuple[bool, ...]]] = []
    inner = trainer._learn

    def spy(rows, turn, **how):  # type: ignore[no-untyped-def]
        learned.append((rows.number // 256, tuple(turn.heads.tolist())))
        return inner(rows, turn, **how)

    trainer._learn = spy  # type: ignore[method-assign]
    for batch in log:
        trainer.step(batch)
    assert len(trainer.waiting) == 4 * 256
    trainer.learn_due(None)

    assert len(trainer.waiting) == 0
    both = [(number, heads) for number in range(6) for heads in ((False, True), (True, False))]
    assert sorted(learned) == sorted(both)
    clicks = [number for number, (click, _) in learned if click]
    assert clicks == sorted(clicks)
    total = trainer.metrics.total()
    assert total["click"]["rows"] == total["watch_time"]["rows"] == 6 * 256


def test_rows_of_which_all_has_arrived_are_learned_at_once() -> None:
    spec, log = waiting(TOY_SPEC, click="3h", watch_time="2d"), toy_log(4)

    ours, theirs = predicted(spec, log, arrived=True), predicted(TOY_SPEC, log)

    assert all((left == right).all() for left, right in zip(ours, theirs, strict=True))
    assert (ours[-1] != predicted(spec, log)[-1]).any()


def test_what_waits_is_learned_before_rows_of_which_all_has_arrived() -> None:
    spec, log = waiting(TOY_SPEC, click="9d"), toy_log(3)
    trainer = Trainer(spec, seed=0)
    trainer.step(log[0])
    trainer.step(log[1])
    assert trainer.trained.tolist() == [False, True]

    trainer.step(log[2], arrived=True)

    assert len(trainer.waiting) == 0
    assert trainer.metrics.total()["click"]["rows"] == 3 * 256


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_run_that_is_stopped_while_rows_wait_ends_like_one_that_is_not(tmp_path: Path, stop: int) -> None:
    spec = waiting(STATE_SPEC, click="4m", watch_time="90s", like="2h")
    log = log_of(1_800)
    batches = [log.slice(start, 200) for start in range(0, 1_800, 200)]
    whole = Trainer(spec, seed=1)
    expected = [whole.step(batch).predictions for batch in batches]
    whole.learn_due(None)
    first = Trainer(spec, seed=1)
    for batch in batches[:stop]:
        first.step(batch)
    assert len(first.waiting) > 0
    run = RunIdentity.of(spec, source="here", since_ms=None, until_ms=None, seed=1)
    save(tmp_path / "checkpoint", TrainingLoop(first), run)

    second = Trainer(spec, seed=1)
    restore(tmp_path / "checkpoint", TrainingLoop(second), run)

    for batch, predictions in zip(batches[stop:], expected[stop:], strict=True):
        assert (second.step(batch).predictions == predictions).all()
    second.learn_due(None)
    assert all(tensor.equal(weights_of(whole)[name]) for name, tensor in weights_of(second).items())
    assert whole.metrics.total() == second.metrics.total()


def test_what_the_network_takes_survives_as_named_tensors() -> None:
    encoder = Encoder(STATE_SPEC)
    log = log_of(300, first_ms=FIRST_MS)
    encoded = encoder.encode_examples(log, observe=True, labels=label_matrix(log, STATE_SPEC.feedback))

    again = Encoded.of_tensors(dict(sorted(encoded.tensors().items(), reverse=True)))

    for left, right in zip(everything(encoded), everything(again), strict=True):
        assert left.equal(right)
    for group, inputs in encoded.groups.items():
        assert again.groups[group].count == inputs.count
        assert list(again.groups[group].singles) == list(inputs.singles)
        assert [bag.width for bag in again.groups[group].bags] == [bag.width for bag in inputs.bags]


FEW_YAML = """
name: few
features:
  - {name: video_id, side: candidate, kind: id, capacity: 4, dim: 4}
tasks:
  - {name: click, group: engagement, kind: binary, label_wait: 1m}
network: {shared: [8], experts: 2, expert: [8], tower: [4]}
score: {terms: [{head: click}]}
"""
FEW_IDS = parse_spec(FEW_YAML, where="FEW_IDS")


def test_an_embedding_that_was_given_to_another_id_learns_nothing_of_the_one_before() -> None:
    def shown(videos: list[str], time_ms: int) -> pa.RecordBatch:
        columns = {"time_ms": [time_ms] * len(videos), "video_id": videos, "click": [1] * len(videos)}
        return pa.RecordBatch.from_pydict(columns)

    old, new = [f"old{i}" for i in range(4)] * 8, [f"new{i}" for i in range(4)] * 8
    trainer = Trainer(FEW_IDS, seed=0)
    for minute in range(2):
        trainer.step(shown(old, 60_000 * minute))
    trainer.learn_due(None)
    trainer.step(shown(old, 300_000))  # with rows of their own, which are given away before it is learned
    trainer.step(shown(new, 301_000))
    given = trainer.sparse.given_at[4] >= 2 * 32
    assert given.any()
    before = trainer.model.embedding.tables["4"].clone()
    assert (before[given] == 0).all()

    trainer.learn_due(None)

    after = trainer.model.embedding.tables["4"]
    assert (after[given] == 0).all()
    assert not after.equal(before)  # the rows of ids without one of their own have learned


def label_wait_world(wait: str) -> tuple[Trainer, pa.Table]:
    """Five days in which clicks are easily foretold, learned, and a sixth."""
    spec, log = waiting(TOY_SPEC, click=wait), toy_log(6 * 12, hours=2)
    trainer = Trainer(spec, seed=0)
    loop = TrainingLoop(trainer)
    loop.run((SourceBatch(batch, {}) for batch in log[: 5 * 12]), [])
    return trainer, pa.Table.from_batches(log)


@pytest.mark.parametrize(("wait", "low", "high"), [("7d", 0.5, 0.5), ("0s", 0.7, 1), ("2d", 0.7, 1)])
def test_nothing_is_foretold_of_a_label_of_which_nothing_could_be_known(
    wait: str, low: float, high: float, tmp_path: Path
) -> None:
    trainer, log = label_wait_world(wait)
    registry = Registry(str(tmp_path))
    loop = TrainingLoop(trainer)
    loop.recent = log.slice(5 * 12 * 256 - 24, 24).combine_chunks().to_batches()[0]
    publish(loop, registry, RunIdentity.of(trainer.spec, source="", since_ms=None, until_ms=None, seed=0))
    source = RecordSource(log.combine_chunks().to_batches()[0])

    report = evaluate(registry.read(), source, features=FeatureMode.LIVE, with_baseline=True, replicates=5)

    found = report.heads["click"]
    assert low <= found.auc <= high  # type: ignore[operator]
    assert (found.baseline_auc == 0.5) == (wait == "7d")  # type: ignore[attr-defined]
    assert (trainer.metrics.total()["click"]["rows"] == 0) == (wait == "7d")
    assert report.heads["watch_time"].rows == 12 * 256


def test_a_head_that_has_learned_nothing_gives_its_constant_alone() -> None:
    trainer = label_wait_world("7d")[0]

    with trainer.exported(), torch.no_grad():
        outputs = trainer.model(trainer.encoder.encode_examples(toy_batch(0)))

    assert outputs[:, 0].unique().numel() == 1
    assert outputs[:, 1].unique().numel() > 100


def by_importance(spec: RankerSpec, wait: str) -> RankerSpec:
    """The spec with clicks that come late, of which so far is learned that there is none."""
    click, *others = waiting(spec, click=wait).tasks
    return spec.model_copy(update={"tasks": (click.model_copy(update={"late": "importance"}), *others)})


def test_a_late_head_may_learn_at_once_that_there_is_no_label_so_far() -> None:
    spec, log = by_importance(TOY_SPEC, "30h"), toy_log(8)
    turns = Trainer(spec, seed=0).turns
    assert [(turn.heads.tolist(), turn.so_far.tolist(), turn.made_up_for.tolist()) for turn in turns] == [
        ([False, True], [True, False], [False, False]),
        ([True, False], [False, False], [True, False]),
    ]
    told = [with_column(batch, "click", np.ones(256)) for batch in log]

    trainer = Trainer(spec, seed=0)
    for batch in log:
        trainer.step(batch)
    assert trainer.trained.all()
    assert trainer.metrics.total()["click"]["rows"] == 0
    ours, theirs = predicted(spec, log), predicted(spec, told)
    assert all((left == right).all() for left, right in zip(ours, theirs, strict=True))
    assert ours[-1][:, 0].mean() < 0.2


def test_a_row_without_a_label_says_nothing_so_far_either() -> None:
    spec, log = by_importance(TOY_SPEC, "30h"), toy_log(4)
    nothing = np.full(256, np.nan)

    trainer = Trainer(spec, seed=0)
    for batch in log:
        trainer.step(with_column(batch, "click", nothing))
    trainer.learn_due(None)

    assert trainer.trained.tolist() == [False, True]
    first = trainer.turns[0]
    labels = np.array([[np.nan, 3], [0, np.nan], [1, 2]], np.float32)
    np.testing.assert_array_equal(first.learned(labels), [[np.nan, 3], [0, np.nan], [0, 2]])


@pytest.mark.parametrize("chance", [0.02, 0.3, 0.8])
def test_what_is_learned_so_far_and_what_is_made_up_for_it_balance_at_the_truth(chance: float) -> None:
    first, second = Trainer(by_importance(TOY_SPEC, "3h"), seed=0).turns
    labels = np.stack([np.arange(10_000) < 10_000 * chance, np.zeros(10_000)], axis=1).astype(np.float32)
    p = np.full((10_000, 2), chance)

    def pull(turn: Turn) -> float:
        """The derivative of the losses by the logit, added up."""
        learned = turn.learned(labels)
        gradient = turn.importance(learned, p)[:, 0] * (p - learned)[:, 0]
        return float(np.nansum(gradient))

    assert pull(first) > 100
    assert pull(first) + pull(second) == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("wait", ["0s", "2h"])
def test_late_labels_are_learned_without_bias(wait: str) -> None:
    def learned(spec: RankerSpec) -> tuple[float, float]:
        trainer = Trainer(spec, seed=0)
        predictions = [trainer.step(batch).predictions[:, 0] for batch in log][80:]
        labels = np.concatenate([batch.column("click").to_numpy() for batch in log[80:]])
        return np.concatenate(predictions).mean() / labels.mean(), auc(labels, np.concatenate(predictions))

    log = toy_log(120)
    calibration, area = learned(by_importance(TOY_SPEC, "2h") if wait == "2h" else TOY_SPEC)

    assert calibration == pytest.approx(1, abs=0.08)
    assert area > 0.75


@pytest.mark.parametrize(
    "change", ["kind: regression, late: importance", "kind: binary, if_absent: missing, late: importance"]
)
def test_only_a_label_that_is_0_without_feedback_can_be_so_far(change: str) -> None:
    yaml = FEW_YAML.replace("kind: binary", change)
    with pytest.raises(
        SpecError, match="expected late: importance of a binary label that is 0 without feedb"
    ):
        parse_spec(yaml, where="here")
