"""Which labels and weights are read, and what an example teaches by them."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from ranker.errors import NonFiniteLossError, SourceError
from ranker.labels.matrix import label_matrix
from tests.training.toy import TOY_SPEC, calm, toy_batch, weights_of, with_column
from training.trainer import Trainer


def test_a_missing_label_teaches_nothing() -> None:
    trainer = Trainer(calm(TOY_SPEC), seed=0)
    trainer.step(toy_batch(0))
    before = weights_of(trainer)
    batch = toy_batch(1)
    for name in ("click", "watch_time"):
        batch = with_column(batch, name, pa.nulls(batch.num_rows, batch.schema.field(name).type))

    assert trainer.step(batch).loss == 0
    assert torch.equal(trainer.model.embedding.tables["4"], before["embedding.tables.4"])


def test_rows_with_a_missing_label_leave_the_loss_of_the_others_alone() -> None:
    trainers = [Trainer(calm(TOY_SPEC), seed=0) for _ in range(2)]
    batch = toy_batch(0)
    known = np.arange(batch.num_rows) < 100
    click = pa.array(batch.column("click").to_numpy(), mask=~known)
    watch_time = pa.array(batch.column("watch_time").to_numpy(), mask=~known)
    holey = with_column(with_column(batch, "click", click), "watch_time", watch_time)

    losses = [trainer.step(b).loss for trainer, b in zip(trainers, (holey, batch.slice(0, 100)), strict=True)]

    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_an_example_of_weight_two_counts_as_two() -> None:
    weighted, repeated = (Trainer(calm(TOY_SPEC), seed=0) for _ in range(2))
    batch = toy_batch(0, rows=32)
    double = np.arange(32) < 8
    again = pa.Table.from_batches([batch, batch.slice(0, 8)]).combine_chunks().to_batches()[0]

    ours = weighted.step(with_column(batch, "weight", np.where(double, 2.0, 1.0)))
    theirs = repeated.step(again)

    assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
    assert ours.loss != pytest.approx(Trainer(calm(TOY_SPEC), seed=0).step(batch).loss, rel=1e-5)


def test_an_example_of_weight_zero_is_not_learned() -> None:
    trainer, other = (Trainer(calm(TOY_SPEC), seed=0) for _ in range(2))
    batch = with_column(toy_batch(0), "weight", (np.arange(256) < 100).astype(int))
    opposite = np.where(np.arange(256) < 100, batch.column("click"), 1 - batch.column("click").to_numpy())

    trainer.step(batch)
    other.step(with_column(batch, "click", opposite))

    for name, tensor in weights_of(trainer).items():
        torch.testing.assert_close(weights_of(other)[name], tensor, msg=name)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("click", 2.0, r"column 'click': expected binary labels from 0 to 1, .*found 2\.0 at time_ms 7"),
        ("click", -1.0, r"'click': expected binary labels from 0 to 1, .*found -1\.0 at time_ms 7"),
        ("watch_time", -0.5, r"'watch_time': expected regression labels from 0 to inf, .*found -0\.5"),
        ("watch_time", np.inf, r"'watch_time': .*none infinite, found inf at time_ms 7"),
        ("watch_time", 1e300, r"'watch_time': .*found 1e\+300 at time_ms 7"),
        ("weight", -1.0, r"'weight': expected example weights of at least 0, found -1\.0 at time_ms 7"),
        ("weight", None, r"'weight': expected example weights of at least 0, found None at time_ms 7"),
    ],
)
def test_a_label_or_weight_out_of_range_is_refused(column: str, value: float | None, message: str) -> None:
    values: list[float | None] = [1.0] * 256
    values[7] = value
    with pytest.raises(SourceError, match=message):
        Trainer(TOY_SPEC, seed=0).step(with_column(toy_batch(0), column, values))


def test_a_label_that_is_no_number_is_refused() -> None:
    batch = with_column(toy_batch(0), "click", ["yes"] * 256)
    with pytest.raises(SourceError, match=r"column 'click': expected numbers, found string"):
        label_matrix(batch, TOY_SPEC.feedback)


@pytest.mark.parametrize("kind", [pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float64()], ids=str)
def test_labels_of_any_numeric_type_are_read(kind: pa.DataType) -> None:
    values = pa.array([1.0, None, 0.0]).cast(pa.int8() if kind == pa.bool_() else kind).cast(kind)
    batch = with_column(toy_batch(0, rows=3), "click", values)
    np.testing.assert_array_equal(label_matrix(batch, TOY_SPEC.feedback)[:, 0], [1, np.nan, 0])


def test_labels_beyond_float32s_integers_are_rounded_not_refused() -> None:
    batch = with_column(toy_batch(0, rows=2), "watch_time", [2**24 + 1, 0])
    assert label_matrix(batch, TOY_SPEC.feedback)[0, 1] == 2**24


def test_an_infinite_weight_is_named_by_the_loss_that_it_breaks() -> None:
    batch = with_column(toy_batch(0), "weight", np.where(np.arange(256) == 7, np.inf, 1.0))
    with pytest.raises(NonFiniteLossError, match=r"of an infinite 'weight' at time_ms 7, not finite"):
        Trainer(TOY_SPEC, seed=0).step(batch)
