"""What every kind of label must do; a kind's test inherits it and names a task of the kind.

Shape letter: N rows.
"""

import math
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
import torch

from ranker.bundles.bundle import pack, unpack
from ranker.bundles.manifest import Manifest
from ranker.errors import SourceError
from ranker.events import TIME_MS
from ranker.labels.head_report import JudgedRows
from ranker.labels.label import HEAD_KEYS, Means, Task
from ranker.labels.matrix import label_matrix
from ranker.labels.natural_units import natural_units
from ranker.metrics.streaming import StreamingMetrics
from ranker.objectives.losses import MultitaskLoss
from ranker.spec import RankerSpec
from ranker.spec_file import dump_spec, parse_spec
from tests.training.toy import TOY_SPEC, toy_batch, with_column
from training.publish import golden_requests
from training.trainer import Trainer

OUTPUTS = torch.linspace(-3, 3, 25)
EXTREME_OUTPUTS = torch.tensor([-1e9, -50.0, 50.0, 1e9])


class LabelContract:
    """The tests of every kind."""

    task: ClassVar[Task]
    """A head of the kind, named `target`."""
    labels: ClassVar[tuple[float, ...]]
    """Valid labels, rising, the least and the greatest of the kind's range among them if they are finite."""

    @pytest.fixture
    def drawn(self) -> np.ndarray:
        """(N,) labels as a log might hold them."""
        return np.random.default_rng(0).choice(self.labels, 400).astype(np.float32)

    @pytest.fixture
    def spec(self) -> RankerSpec:
        """The toy ranker with a head of the kind, which also counts its label in a rate and a history."""
        document = TOY_SPEC.model_dump(mode="json", exclude_none=True)
        document["tasks"].append(self.task.model_dump(mode="json", exclude_none=True))
        name = self.task.name
        document["features"] += [
            {"name": "rates", "kind": "rate", "of": ["video_id"], "labels": [name]},
            {"name": "seen", "kind": "history", "of": "video_id", "label": name, "above": self.labels[0]},
        ]
        return RankerSpec.model_validate(document)

    def batch(self, seed: int) -> pa.RecordBatch:
        """Toy examples whose label is one of the least for even videos, one of the greatest for odd ones."""
        records = toy_batch(seed)
        half = len(self.labels) // 2
        low, high = self.labels[:half], self.labels[-half:]
        random = np.random.default_rng(seed)
        odd = records.column("video_id").to_numpy() % 2 == 1
        values = np.where(odd, random.choice(high, len(odd)), random.choice(low, len(odd)))
        return with_column(records, self.task.source_column, values.astype(np.float32))

    def test_row_losses_are_finite_and_least_where_the_prediction_is_the_label(self) -> None:
        outputs = torch.cat([OUTPUTS, EXTREME_OUTPUTS])[:, None]
        predictions = natural_units(outputs, [self.task])[:, 0]
        for label in self.labels:
            losses = self.task.row_losses(np.full(len(predictions), label), predictions)
            exact = self.task.row_losses(np.array([label]), np.array([label], np.float64))
            assert losses.shape == predictions.shape
            assert np.isfinite(losses).all()
            assert (losses >= exact).all()

    def test_labels_within_the_range_are_read_and_others_refused_with_column_and_time(self) -> None:
        def read(value: float) -> np.ndarray:
            column = pa.array([value, None], pa.float64())
            batch = pa.RecordBatch.from_pydict({TIME_MS: [7, 8], self.task.source_column: column})
            return label_matrix(batch, [self.task])[:, 0]

        low, high = self.task.value_range
        for value in self.labels:
            np.testing.assert_array_equal(read(value), np.array([value, math.nan], np.float32))
        for wrong in {low - 1, high + 1, math.inf, -math.inf}:
            with pytest.raises(
                SourceError, match=f"'{self.task.source_column}'.*{self.task.kind}.* time_ms 7"
            ):
                read(wrong)

    def test_the_loss_falls_towards_the_label_and_stays_finite(self) -> None:
        for label in self.labels:
            outputs = OUTPUTS[:, None].clone().requires_grad_()
            loss = self.task.loss(outputs, torch.full_like(outputs, label))
            (slope,) = torch.autograd.grad(loss.sum(), outputs)
            with torch.no_grad():
                before = self.task.natural_units(outputs.double())
                after = self.task.natural_units((outputs - 1e-3 * slope.sign()).double())
            nearer = (after - label).abs() <= (before - label).abs() + 1e-3

            assert (loss >= 0).all()
            assert nearer.all()
            extreme = self.task.loss(EXTREME_OUTPUTS[:, None], torch.full((4, 1), label))
            assert extreme.isfinite().all()

    def test_columns_that_are_treated_at_once_do_not_mix(self) -> None:
        random = torch.Generator().manual_seed(0)
        outputs = torch.randn(40, 3, generator=random)
        labels = torch.tensor(np.random.default_rng(1).choice(self.labels, (40, 3)), dtype=torch.float32)
        together = MultitaskLoss([self.task] * 3)(outputs, labels).heads

        for column in range(3):
            alone = MultitaskLoss([self.task])(outputs[:, [column]], labels[:, [column]]).heads
            torch.testing.assert_close(together[[column]], alone)

    def test_base_outputs_are_where_the_loss_is_flat(self, drawn: np.ndarray) -> None:
        labels = torch.from_numpy(drawn)[:, None].repeat(20, 1)  # the binary kind smooths by one row
        loss = MultitaskLoss([self.task])
        constant = loss.base_outputs(labels).requires_grad_()
        loss(constant.expand(len(labels), 1), labels).total.backward()

        assert constant.grad is not None
        torch.testing.assert_close(constant.grad, torch.zeros(1), rtol=0, atol=1e-3)

    @pytest.mark.parametrize("which", [0, -1])
    def test_a_head_of_equal_labels_starts_at_a_finite_output(self, which: int) -> None:
        assert MultitaskLoss([self.task]).base_outputs(torch.full((9, 1), self.labels[which])).isfinite()

    def test_predictions_rise_with_the_output_and_stay_finite_and_possible(self) -> None:
        outputs = torch.cat([EXTREME_OUTPUTS[:2], OUTPUTS, EXTREME_OUTPUTS[2:]])[:, None]
        predictions = natural_units(outputs, [self.task])[:, 0]
        low, high = self.task.value_range

        assert np.isfinite(predictions).all()
        assert (np.diff(predictions) >= 0).all()
        assert (np.diff(natural_units(OUTPUTS[:, None], [self.task])[:, 0]) > 0).any()
        assert ((predictions >= low) & (predictions <= high)).all()

    def test_a_shifted_constant_predicts_the_mean_label(self, drawn: np.ndarray) -> None:
        output = torch.full((400, 1), 0.3, dtype=torch.float64)
        predictions = self.task.natural_units(output).numpy()
        slope = self.task.slope(predictions)
        ones = np.ones(400)
        means = Means(*(np.array([x.sum()]) for x in (ones, drawn, predictions, slope)))
        shifted = self.task.natural_units(output + torch.from_numpy(self.task.shift(means))).numpy()

        assert shifted.mean() == pytest.approx(drawn.mean(), rel=0.02)

    def test_what_the_state_counts_rises_with_the_label_and_stays_missing(self) -> None:
        counted = self.task.learned(np.array([*self.labels, math.nan], np.float32))

        assert counted.dtype == np.float32
        assert (np.diff(counted[:-1]) > 0).all()
        assert math.isnan(counted[-1])

    def test_the_report_agrees_with_the_streaming_metrics(self, drawn: np.ndarray) -> None:
        random = np.random.default_rng(3)
        output = torch.from_numpy(random.normal(size=(400, 1)))
        predictions = self.task.natural_units(output).numpy()
        viewers = random.integers(0, 40, 400).astype(np.str_)
        report = self.task.report(
            JudgedRows(drawn.astype(np.float64), predictions[:, 0], viewers, None, replicates=20)
        )
        streaming = StreamingMetrics({"target": self.task.sums})
        streaming.update(predictions, drawn[:, None])
        (values,) = streaming.result()

        figures = report.model_dump()
        assert self.task.loss_metric in streaming.metrics
        assert figures.keys() >= set(streaming.metrics)
        for name, value in zip(streaming.metrics, values, strict=True):
            assert figures[name] == pytest.approx(value, abs=2e-3), name
        assert report.loss_text
        assert self.task.loss_text(1.25).startswith("1.25")

    def test_a_mistake_in_the_spec_names_the_key(self, spec: RankerSpec) -> None:
        assert parse_spec(dump_spec(spec), where="dumped") == spec
        text = dump_spec(spec).replace(
            f"- name: {self.task.name}\n", f"- name: {self.task.name}\n  wight: 2\n"
        )
        with pytest.raises(Exception, match=r"tasks > 2 \('target'\): expected the keys .* found 'wight'"):
            parse_spec(text, where="mistaken")

    def test_what_belongs_to_a_head_is_no_part_of_the_label(self) -> None:
        kept = self.task.model_dump(exclude=set(HEAD_KEYS))

        assert kept["kind"] == self.task.kind
        assert not HEAD_KEYS & kept.keys()

    def test_a_head_learns_the_label_and_survives_a_bundle(self, spec: RankerSpec) -> None:
        trainer = Trainer(spec, seed=0)
        for seed in range(30):
            result = trainer.step(self.batch(seed))
        column = [task.name for task in spec.tasks].index("target")
        odd = self.batch(29).column("video_id").to_numpy() % 2 == 1
        predictions = result.predictions[:, column]
        assert predictions[odd].mean() > predictions[~odd].mean()

        golden = golden_requests(self.batch(29), spec, trainer.watermark_ms or 0)
        manifest = Manifest(
            model_version="toy-1", name="toy", created_ms=0, watermark_ms=0, rows=1, source="", files={}
        )
        with trainer.exported():
            contents = pack(manifest, trainer.encoder, trainer.model, golden)
        assert unpack(contents, where="test").spec == spec  # it compares the golden predictions
