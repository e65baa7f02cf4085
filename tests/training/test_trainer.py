from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import torch

from ranker.errors import NonFiniteLossError
from ranker.labels.natural_units import natural_units
from ranker.metrics.exact import auc
from ranker.objectives.losses import Losses, MultitaskLoss
from ranker.spec import RankerSpec
from ranker.spec_file import dump_spec, parse_spec
from tests.ranker.small_spec import SMALL_SPEC, random_records
from tests.serving.state_ranker import FIRST_MS, STATE_SPEC, log_of
from tests.training.toy import TOY_SPEC, calm, toy_batch, weights_of, with_column
from training.sources.merge import rebatch
from training.trainer import StepResult, Trainer


def small_batches(count: int = 6, rows: int = 32) -> list[pa.RecordBatch]:
    return list(rebatch([pa.Table.from_batches([random_records(count * rows)])], rows))


def assert_same_weights(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("spec", [SMALL_SPEC, calm(SMALL_SPEC)], ids=["dropout", "no dropout"])
def test_a_batch_is_predicted_with_the_weights_and_statistics_before_it(spec: RankerSpec) -> None:
    trainer = Trainer(spec, seed=1)
    for batch in small_batches():
        trainer.model.eval()
        with torch.no_grad():
            expected = natural_units(trainer.model(trainer.encoder.encode_examples(batch)), spec.tasks)
        trainer.model.train()

        np.testing.assert_allclose(trainer.step(batch).predictions, expected, rtol=1e-4, atol=1e-6)


def trained(batches: list[pa.RecordBatch], *, seed: int = 1) -> tuple[Trainer, StepResult]:
    """A fresh trainer after some batches, and the last one's result."""
    trainer = Trainer(SMALL_SPEC, seed=seed)
    return trainer, [trainer.step(batch) for batch in batches][-1]


def test_a_batch_is_predicted_without_its_labels() -> None:
    *earlier, shuffled = small_batches()
    order = np.random.default_rng(0).permutation(shuffled.num_rows)
    for task in SMALL_SPEC.tasks:
        shuffled = with_column(shuffled, task.source_column, shuffled.column(task.source_column).take(order))

    (ours, our_step), (theirs, their_step) = trained(small_batches()), trained([*earlier, shuffled])

    np.testing.assert_array_equal(our_step.predictions, their_step.predictions)
    assert our_step.loss != their_step.loss
    assert not torch.equal(ours.model.network.towers.output.bias, theirs.model.network.towers.output.bias)


def test_the_same_seed_gives_the_same_weights_bit_by_bit() -> None:
    first, same, other = (weights_of(trained(small_batches(), seed=seed)[0]) for seed in (3, 3, 4))

    assert_same_weights(same, first)
    assert not all(torch.equal(other[name], first[name]) for name in first)


def test_it_learns() -> None:
    trainer = Trainer(TOY_SPEC, seed=0)
    areas = []
    for seed in range(40):
        step = trainer.step(toy_batch(seed))
        areas.append(auc(step.labels[:, 0].astype(float), step.predictions[:, 0]))

    assert np.mean(areas[:2]) < 0.65
    assert np.mean(areas[-5:]) > 0.8


ONE_ROW_SPEC = parse_spec(dump_spec(TOY_SPEC).replace("  buckets: 64", "  capacity: 1"), where="ONE_ROW_SPEC")
"""One viewer and one video have a row of their own, the last ones seen."""


def test_a_row_that_another_id_is_given_starts_anew() -> None:
    trainer = Trainer(ONE_ROW_SPEC, seed=0)
    table, squares = trainer.model.embedding.tables["4"], trainer.sparse.squares[4]
    viewers = trainer.encoder.layout.first_row(ONE_ROW_SPEC.features[0])
    videos = trainer.encoder.layout.first_row(ONE_ROW_SPEC.features[1])
    own = [viewers + 2, videos + 2]
    damping = torch.tensor(ONE_ROW_SPEC.training.embedding_damping)

    def learn(time_ms: int, videos: list[str]) -> None:
        rows = len(videos)
        batch = toy_batch(0, rows=rows)
        for name, values in {
            "user_id": ["u"] * rows,
            "video_id": videos,
            "time_ms": [time_ms] * rows,
        }.items():
            batch = with_column(batch, name, values)
        trainer.step(batch)

    learn(0, ["a", "a"])
    assert not table[own].any()
    assert (squares[own] == damping).all()
    learn(1, ["a", "a"])
    assert table[own].all()
    viewer = table[own[0]].clone()

    learn(2, ["a", "b"])  # a's row, which this batch still learns for a, is b's from the next one on

    assert not table[own[1]].any()
    assert squares[own[1]] == damping
    assert table[own[0]].all()
    assert not torch.equal(table[own[0]], viewer)
    shared = table[videos + 1].clone()
    learn(3, ["b", "b"])
    assert table[own[1]].all()
    assert torch.equal(table[videos + 1], shared)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("bfloat16", [False, True])
def test_it_learns_on_cuda_what_it_learns_on_the_cpu(bfloat16: bool) -> None:
    spec = calm(TOY_SPEC)
    cpu = Trainer(spec, seed=0)
    cuda = Trainer(spec, seed=0, device=torch.device("cuda"), bfloat16=bfloat16)
    cuda.model.load_state_dict(cpu.model.state_dict())
    for seed in range(20):
        ours, theirs = cuda.step(toy_batch(seed)), cpu.step(toy_batch(seed))
        np.testing.assert_allclose(ours.predictions[:, 0], theirs.predictions[:, 0], atol=0.05)


def test_bfloat16_keeps_the_weights_and_learns_as_well() -> None:
    full, half = Trainer(TOY_SPEC, seed=0), Trainer(TOY_SPEC, seed=0, bfloat16=True)
    for seed in range(20):
        losses = full.step(toy_batch(seed)).loss, half.step(toy_batch(seed)).loss
    assert all(tensor.dtype == torch.float32 for tensor in half.model.state_dict().values())
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]


def test_heads_start_at_the_base_rates_of_the_first_batch() -> None:
    trainer = Trainer(TOY_SPEC, seed=0)
    batch = with_column(toy_batch(0), "click", np.arange(256) % 8 == 0)

    trainer.step(batch)

    assert trainer.step(toy_batch(1)).predictions[:, 0].mean() == pytest.approx(1 / 8, abs=0.04)


def test_the_first_batch_is_learned_from_the_base_rates_on_but_predicted_without_them() -> None:
    trainer, undisturbed = Trainer(TOY_SPEC, seed=0), Trainer(TOY_SPEC, seed=0)
    batch = with_column(toy_batch(0), "watch_time", [1e4] * 256)
    undisturbed.model.eval()
    with torch.no_grad():
        expected = natural_units(
            undisturbed.model(undisturbed.encoder.encode_examples(batch)), TOY_SPEC.tasks
        )

    step = trainer.step(batch)

    np.testing.assert_allclose(step.predictions, expected, rtol=1e-4)
    assert step.predictions[:, 1].max() < 10
    # The amount is a constant, which the head starts at: all that is left is the spread of fresh weights
    assert step.loss < 2
    second = trainer.step(with_column(toy_batch(1), "watch_time", [1e4] * 256))
    np.testing.assert_allclose(second.predictions[:, 1], 1e4, rtol=0.5)


def test_the_untrained_networks_predictions_correct_nothing() -> None:
    trainer = Trainer(TOY_SPEC, seed=0)

    trainer.step(toy_batch(0))
    assert (trainer.correction.shifts() == 0).all()
    trainer.step(toy_batch(1))
    assert (trainer.correction.shifts() != 0).all()


def test_the_position_tower_learns_at_a_rate_of_its_own() -> None:
    """Adam's first step moves every weight that has a gradient by the rate of learning."""
    training = SMALL_SPEC.training
    trainer = Trainer(SMALL_SPEC, seed=0)
    assert trainer.model.position is not None
    tower, before = trainer.model.position, weights_of(trainer)
    trainer.step(small_batches(1)[0])

    moved = {name: (own - before[name]).abs().max().item() for name, own in weights_of(trainer).items()}
    of_tower = [moved[f"position.{name}"] for name, _ in tower.named_parameters()]
    assert max(of_tower) == pytest.approx(training.position_learning_rate, rel=0.01)
    assert moved["network.towers.output.weight"] == pytest.approx(training.learning_rate, rel=0.01)
    assert training.position_learning_rate != training.learning_rate


@pytest.mark.parametrize("outlier", [1e6, 1.7e9])
def test_an_outlying_label_hardly_moves_the_exported_mean(outlier: float) -> None:
    batches = [toy_batch(seed) for seed in range(16)]
    spoiled = batches[9].column("watch_time").to_numpy().copy()
    spoiled[17] = outlier

    clean, with_outlier = (
        exported_mean(batches),
        exported_mean([*batches[:9], with_column(batches[9], "watch_time", spoiled), *batches[10:]]),
    )

    assert with_outlier == pytest.approx(clean, rel=0.1)


def test_an_outlying_weight_hardly_moves_the_exported_mean() -> None:
    batches = [with_column(toy_batch(seed), "weight", np.ones(256)) for seed in range(16)]
    weights = np.ones(256)
    weights[17] = 1e38

    clean, with_outlier = (
        exported_mean([*batches[:9], batch, *batches[10:]], head=0)
        for batch in (batches[9], with_column(batches[9], "weight", weights))
    )

    assert with_outlier == pytest.approx(clean, rel=0.1)


def exported_mean(batches: list[pa.RecordBatch], head: int = 1) -> float:
    trainer = Trainer(TOY_SPEC, seed=0)
    for batch in batches:
        trainer.step(batch)
    with torch.no_grad(), trainer.exported():
        outputs = trainer.model(trainer.encoder.encode_examples(toy_batch(99)))
    return float(natural_units(outputs, TOY_SPEC.tasks)[:, head].mean())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda batch: with_column(batch, "weight", [np.inf] * batch.num_rows),
        lambda batch: with_column(batch, "rating", [3e38] * batch.num_rows),
    ],
    ids=["infinite weight", "huge label"],
)
def test_a_loss_that_is_not_finite_stops_before_learning(
    spoil: Callable[[pa.RecordBatch], pa.RecordBatch],
) -> None:
    document = TOY_SPEC.model_dump(exclude_none=True)
    rating = {"name": "rating", "group": "satisfaction", "kind": "regression", "plausible": (0.0, 3.3e38)}
    document["tasks"] = [*document["tasks"], rating]
    trainer = Trainer(RankerSpec.model_validate(document), seed=0)
    batches = [with_column(toy_batch(seed), "rating", [1.0] * 256) for seed in range(3)]
    trainer.step(batches[0])
    trainer.step(batches[1])
    before, state = weights_of(trainer), trainer.metrics.total()

    with pytest.raises(NonFiniteLossError, match=r"rating.* rows 512 to 767 .*time_ms 512 to 767"):
        trainer.step(spoil(batches[2]))

    assert_same_weights(weights_of(trainer), before)
    assert (trainer.rows, trainer.watermark_ms) == (512, 511)
    assert trainer.metrics.total() == state
    trainer.step(batches[2])
    assert trainer.rows == 768


def test_a_refused_first_batch_leaves_the_untrained_network() -> None:
    trainer = Trainer(TOY_SPEC, seed=0)
    before, state = weights_of(trainer), trainer.plausibility.state_dict()

    with pytest.raises(NonFiniteLossError):
        trainer.step(with_column(toy_batch(0), "weight", [np.inf] * 256))

    assert_same_weights(weights_of(trainer), before)
    assert all((array == state[name]).all() for name, array in trainer.plausibility.state_dict().items())


@pytest.mark.parametrize("arrived", [True, False])
@pytest.mark.parametrize("error", [NonFiniteLossError, KeyboardInterrupt])
def test_a_refused_batch_leaves_no_trace_in_encoder_and_state(
    error: type[BaseException], arrived: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = [log_of(300, first_ms=FIRST_MS + 400_000 * n, seed=n) for n in range(3)]
    trainer, undisturbed = Trainer(STATE_SPEC, seed=0), Trainer(STATE_SPEC, seed=0)
    for each in (trainer, undisturbed):
        torch.manual_seed(7)
        each.step(batches[0], arrived=arrived)

    def broken(*_: object) -> Losses:
        if error is KeyboardInterrupt:
            raise KeyboardInterrupt
        return Losses(torch.tensor(torch.nan), torch.zeros(len(STATE_SPEC.tasks)))

    with monkeypatch.context() as patch:
        patch.setattr(MultitaskLoss, "__call__", broken)
        with pytest.raises(error):
            trainer.step(batches[1], arrived=arrived)  # or, unless they have arrived, those before it

    for each in (trainer, undisturbed):
        torch.manual_seed(7)  # the refused batch drew the noise of its forward pass
        each.step(batches[2], arrived=arrived)
    assert trainer.encoder.state() == undisturbed.encoder.state()
    ours, theirs = trainer.encoder.arrays(), undisturbed.encoder.arrays()
    assert ours.keys() == theirs.keys()
    assert all(array.tobytes() == theirs[name].tobytes() for name, array in ours.items())
    assert_same_weights(weights_of(trainer), weights_of(undisturbed))
    assert trainer.metrics.total() == undisturbed.metrics.total()


def test_position_and_watermark_follow_the_rows() -> None:
    trainer = Trainer(TOY_SPEC, seed=0)
    assert (trainer.rows, trainer.watermark_ms) == (0, None)
    trainer.step(toy_batch(0))
    trainer.step(toy_batch(1, rows=10))
    assert (trainer.rows, trainer.watermark_ms) == (266, 19)
    assert trainer.metrics.total()["click"]["rows"] == 266
