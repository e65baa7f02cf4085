"""One step of learning: predict a batch; when its labels are known, score the predictions and learn from it.

Shape letters: B rows, T tasks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranker.errors import NonFiniteLossError
from ranker.events import TIME_MS, WEIGHT
from ranker.features.batch import Encoded
from ranker.features.encoder import Encoder, Examples
from ranker.labels.matrix import label_matrix, number_column, refuse_rows
from ranker.labels.natural_units import natural_units
from ranker.metrics.progressive import ProgressiveMetrics
from ranker.networks.model import RankingModel, TrainingOutputs
from ranker.objectives.losses import MultitaskLoss
from ranker.spec import RankerSpec
from training.average import WeightAverage
from training.correction import MeanCorrection
from training.optimisers import RowwiseAdagrad
from training.plausible import Plausibility
from training.waiting import PredictedRows, Turn, WaitingRows, at_once, turns_of


@dataclass(frozen=True)
class StepResult:
    """What one step showed.

    Attributes:
        loss: The batch's loss, before the heads that do not wait learned it; None if all wait.
        predictions: (B, T) in natural units, made before learning from the batch.
        labels: (B, T) in natural units, NaN where missing.
        examples: The batch as it was encoded.
    """

    loss: float | None
    predictions: NDArray[np.float64]
    labels: NDArray[np.float32]
    examples: Examples


class Trainer:
    """A model that learns from record batches in temporal order.

    Attributes:
        rows: Examples taken in so far: the position in the source.
        watermark_ms: Event time of the newest of them; None before the first.
        turns: When the heads learn a row.
        waiting: Rows that were predicted and not learned yet by every head.
        trained: (T,) the heads that have learned something.

    Args:
        spec: The ranker.
        seed: Of the initial weights and of dropout. Same seed, same batches: the same weights, bit by bit,
            on the CPU with the same number of threads.
        device: Where to compute.
        bfloat16: Whether the network's products are done in bfloat16; weights stay float32.
    """

    def __init__(
        self, spec: RankerSpec, *, seed: int, device: torch.device | None = None, bfloat16: bool = False
    ) -> None:
        torch.manual_seed(seed)
        self.spec = spec
        self.device = device or torch.device("cpu")
        self.bfloat16 = bfloat16
        self.encoder = Encoder(spec)
        self.model = RankingModel(spec).to(self.device).train()
        self.loss = MultitaskLoss(spec.tasks)
        position = [] if self.model.position is None else list(self.model.position.parameters())
        biased = {id(parameter) for parameter in position}
        rest = [p for p in self.model.dense_parameters() if id(p) not in biased]
        training = spec.training
        groups: list[dict[str, Any]] = [
            {"params": rest, "lr": training.learning_rate},
            {"params": position, "lr": training.position_learning_rate},
        ]
        self.dense = torch.optim.Adam(groups, fused=True)
        self.average = WeightAverage(self.model.dense_parameters(), training.weight_average)
        self.sparse = RowwiseAdagrad(
            self.model.embedding, training.embedding_learning_rate, training.embedding_damping
        )
        sums = {task.name: task.sums for task in spec.tasks}
        self.metrics = ProgressiveMetrics(sums, training.metrics_window_s * 1000)
        self.plausibility = Plausibility(spec.tasks, training.max_weight)
        self.correction = MeanCorrection(spec.tasks, training.correction_half_life)
        self.turns = turns_of(spec.tasks, training.late_after)
        self.waiting = WaitingRows(self.turns)
        self.trained = np.zeros(len(spec.tasks), bool)
        self.rows = 0
        self.watermark_ms: int | None = None

    @contextmanager
    def exported(self) -> Iterator[None]:
        """Let the model be what is exported while the context lasts: averaged, corrected, without dropout."""
        self.model.eval()
        try:
            with self.average.applied():  # which puts back the bias that is shifted here
                self.model.network.shift(torch.from_numpy(self.correction.shifts()))
                yield
        finally:
            self.model.train()

    def step(self, batch: pa.RecordBatch, *, arrived: bool = False) -> StepResult:
        """Learn what has become known by now of earlier rows; then predict a batch, and learn it in its time.

        Args:
            batch: Examples not older than those before.
            arrived: Whether all labels of these rows, and of earlier ones, are known by now: then they are
                learned at once, whatever their waits.

        Raises:
            NonFiniteLossError: The loss of some rows is not a finite number. Nothing has learned from them,
                nor from this batch: network, encoder, feature state and metrics are as they were before.
            FeatureError: A column has the wrong type.
            SourceError: A label or weight is out of range.
        """
        feedback = label_matrix(batch, self.spec.feedback)
        weights = self._weights(batch)
        times = batch.column(TIME_MS).to_numpy().copy()
        self.learn_due(None if arrived else int(times[0]))
        examples = self.encoder.read_examples(batch, feedback, reversible=True)
        plausibility = self.plausibility.state_dict()
        done = 0 if arrived else int(not self.turns[0].wait_ms)
        try:
            encoded = examples.encoded
            forward = self._forward(encoded) if arrived or done else None
            outputs = self._ranked(encoded) if forward is None else forward.outputs.prediction
            rows = PredictedRows(
                number=self.rows,
                times=times,
                encoded=encoded,
                labels=feedback[:, : len(self.spec.tasks)],
                weights=self._bounded(weights),
                predictions=natural_units(outputs, self.spec.tasks),
                trained=self.trained.copy(),
            )
            loss = None
            if forward is not None:
                turn = at_once(self.spec.tasks) if arrived else self.turns[0]
                loss = self._learn(rows, turn, forward=forward)
        except BaseException:
            self.plausibility.load_state_dict(plausibility)
            self.encoder.take_back(examples)
            raise
        fresh_rows = self.encoder.learn(examples)
        self.sparse.start_anew(fresh_rows, self.rows)  # this batch still used them for other ids
        if not arrived:
            self.waiting.add(rows, done=done)
        self.rows += batch.num_rows
        self.watermark_ms = int(times[-1])
        return StepResult(loss, rows.predictions, rows.labels, examples)

    def learn_due(self, time_ms: int | None) -> None:
        """Let heads learn the rows that wait for labels which are known at a time.

        Args:
            time_ms: The time; None for the end of all waits.

        Raises:
            NonFiniteLossError: See `step`.
        """
        for rows, turn in self.waiting.due(time_ms):
            self._learn(rows, turn, late=True)

    def _learn(
        self,
        rows: PredictedRows,
        turn: Turn,
        *,
        forward: "_Forward | None" = None,
        late: bool = False,
    ) -> float:
        """Let some heads learn rows, score their predictions, and return the loss before.

        Args:
            rows: The rows.
            turn: Which heads, and what of the labels.
            forward: A forward pass of these rows with the present weights, if there is one.
            late: Whether other batches were encoded since.
        """
        labels = np.where(turn.heads, rows.labels, np.float32(np.nan))
        learned = turn.learned(rows.labels)
        known = ~np.isnan(learned).all(axis=0)
        if not known.any():
            return 0.0
        plausible = self.plausibility.read(labels, None)
        learned = np.where(turn.heads, plausible.labels, learned)
        targets = self._tensor(learned), None if rows.weights is None else self._tensor(rows.weights)
        network = self.model.network
        untrained = known & ~self.trained
        before = {n: t.clone() for n, t in network.state_dict().items()} if untrained.any() else None
        try:
            forward = forward or self._forward(rows.encoded)
            if before is not None:  # predicted as it is, but learned from the base rates on
                base = self.loss.base_outputs(*targets)
                network.start_at(torch.where(self._tensor(untrained), base, torch.nan))
                forward = self._forward(rows.encoded)
            importance = None
            if (turn.so_far | turn.made_up_for).any():
                chance = natural_units(forward.outputs.prediction, self.spec.tasks)
                importance = self._tensor(turn.importance(learned, chance))
            loss = self.loss(forward.outputs.logit, *targets, importance)
            if not torch.isfinite(loss.total):
                self._refuse(rows, loss.heads)
        except BaseException:
            if before is not None:
                network.load_state_dict(before)
            raise
        self.metrics.update(rows.times, rows.predictions, labels)
        judged = np.where(rows.trained, plausible.labels, np.nan)  # not what an untrained head predicted
        self.correction.update(rows.predictions, judged, int(rows.times[-1]), rows.weights)
        self.plausibility.take(plausible)
        self.trained |= known

        loss.total.backward()  # type: ignore[no-untyped-call]
        self.dense.step()
        self.dense.zero_grad()
        self.sparse.step(forward.rows, forward.gathered, len(labels), rows.number if late else None)
        self.average.update()
        return loss.total.item()

    def _forward(self, encoded: Encoded) -> "_Forward":
        """A forward pass that the loss can be differentiated through."""
        encoded = encoded.to(self.device)
        rows = self.model.embedding.rows(encoded)
        gathered = {w: copies.requires_grad_() for w, copies in self.model.embedding.gather(rows).items()}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            return _Forward(rows, gathered, self.model.training_outputs(encoded, gathered))

    def _ranked(self, encoded: Encoded) -> Tensor:
        """(B, T) outputs as when ranking."""
        self.model.eval()
        try:
            with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                outputs: Tensor = self.model(encoded.to(self.device))
        finally:
            self.model.train()
        return outputs

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _bounded(self, weights: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """Example weights as they are learned, counted as what they were."""
        if weights is None:
            return None
        unknown = np.full((len(weights), len(self.spec.tasks)), np.nan, np.float32)
        plausible = self.plausibility.read(unknown, weights)
        self.plausibility.take(plausible)
        return plausible.weights

    def _weights(self, batch: pa.RecordBatch) -> NDArray[np.float32] | None:
        if WEIGHT not in batch.schema.names:
            return None
        weights = number_column(batch, WEIGHT)
        refuse_rows(batch, WEIGHT, ~(weights >= 0), "example weights of at least 0")
        return weights

    def _refuse(self, rows: PredictedRows, heads: Tensor) -> None:
        broken = [
            task.name for task, loss in zip(self.spec.tasks, heads.tolist(), strict=True) if loss - loss != 0
        ]
        if rows.weights is not None and np.isinf(rows.weights).any():
            row = int(np.isinf(rows.weights).argmax())
            broken = [f"{', '.join(broken)}, of an infinite '{WEIGHT}' at time_ms {rows.times[row]},"]
        raise NonFiniteLossError(
            f"expected a finite loss, found {', '.join(broken) or 'the sum'} not finite in rows "
            f"{rows.number} to {rows.number + len(rows.times) - 1} of the source "
            f"(time_ms {rows.times[0]} to {rows.times[-1]}); stopped before learning from them"
        )


@dataclass(frozen=True)
class _Forward:
    """A forward pass of a training step.

    Attributes:
        rows: For each width, (M,) int64 rows of the table.
        gathered: For each width, (M, W) copies of them, which take the gradients.
        outputs: What the network gives.
    """

    rows: dict[int, Tensor]
    gathered: dict[int, Tensor]
    outputs: TrainingOutputs
