"""One step of learning: predict a batch, score the predictions, only then learn from it.

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
from training.plausible import Plausibility, PlausibleRows


@dataclass(frozen=True)
class StepResult:
    """What one step showed.

    Attributes:
        loss: The batch's loss, before learning from it.
        predictions: (B, T) in natural units, made before learning from the batch.
        labels: (B, T) in natural units, NaN where missing.
        examples: The batch as it was encoded.
    """

    loss: float
    predictions: NDArray[np.float64]
    labels: NDArray[np.float32]
    examples: Examples


class Trainer:
    """A model that learns from record batches in temporal order.

    Attributes:
        rows: Examples learned from so far: the position in the source.
        watermark_ms: Event time of the newest of them; None before the first.

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

    def step(self, batch: pa.RecordBatch) -> StepResult:
        """Predict, score and learn one batch.

        Args:
            batch: Examples not older than those before.

        Raises:
            NonFiniteLossError: The loss is not a finite number. Nothing has learned from the batch: network,
                encoder, feature state and metrics are as they were before.
            FeatureError: A column has the wrong type.
            SourceError: A label or weight is out of range.
        """
        feedback = label_matrix(batch, self.spec.feedback)
        labels = feedback[:, : len(self.spec.tasks)]
        plausible = self.plausibility.read(labels, self._weights(batch))
        examples = self.encoder.read_examples(batch, feedback, reversible=True)
        network = self.model.network
        untrained = None if self.rows else {name: t.clone() for name, t in network.state_dict().items()}
        try:
            encoded = examples.encoded.to(self.device)
            rows = self.model.embedding.rows(encoded)
            gathered = {w: copies.requires_grad_() for w, copies in self.model.embedding.gather(rows).items()}
            outputs = self._outputs(encoded, gathered)
            prediction = outputs.prediction
            if untrained is not None:  # predicted as it is, but learned from the base rates on
                network.start_at(self.loss.base_outputs(*self._targets(plausible)))
                outputs = self._outputs(encoded, gathered)
            loss = self.loss(outputs.logit, *self._targets(plausible))
            if not torch.isfinite(loss.total):
                self._refuse(batch, loss.heads)
        except BaseException:
            self.encoder.take_back(examples)
            if untrained is not None:
                network.load_state_dict(untrained)
            raise
        fresh_rows = self.encoder.learn(examples)
        result = StepResult(loss.total.item(), natural_units(prediction, self.spec.tasks), labels, examples)
        time_ms = batch.column(TIME_MS).to_numpy()
        self.metrics.update(time_ms, result.predictions, labels)
        if self.rows:  # the first batch is predicted by an untrained network
            self.correction.update(result.predictions, plausible.labels, int(time_ms[-1]), plausible.weights)
        self.plausibility.take(plausible)

        loss.total.backward()  # type: ignore[no-untyped-call]
        self.dense.step()
        self.dense.zero_grad()
        self.sparse.step(rows, gathered, batch.num_rows)
        self.sparse.start_anew(fresh_rows)  # this batch still used them for other ids
        self.average.update()
        self.rows += batch.num_rows
        self.watermark_ms = int(time_ms[-1])
        return result

    def _outputs(self, encoded: Encoded, gathered: dict[int, Tensor]) -> TrainingOutputs:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.model.training_outputs(encoded, gathered)

    def _targets(self, rows: PlausibleRows) -> tuple[Tensor, Tensor | None]:
        """Labels, (B, T), and example weights, (B,)."""
        weights = None if rows.weights is None else torch.tensor(rows.weights, device=self.device)
        return torch.from_numpy(rows.labels).to(self.device), weights

    def _weights(self, batch: pa.RecordBatch) -> NDArray[np.float32] | None:
        if WEIGHT not in batch.schema.names:
            return None
        weights = number_column(batch, WEIGHT)
        refuse_rows(batch, WEIGHT, ~(weights >= 0), "example weights of at least 0")
        return weights

    def _refuse(self, batch: pa.RecordBatch, heads: Tensor) -> None:
        broken = [
            task.name for task, loss in zip(self.spec.tasks, heads.tolist(), strict=True) if loss - loss != 0
        ]
        times = batch.column(TIME_MS)
        weights = self._weights(batch)
        if weights is not None and np.isinf(weights).any():
            row = int(np.isinf(weights).argmax())
            broken = [f"{', '.join(broken)}, of an infinite '{WEIGHT}' at time_ms {times[row]},"]
        raise NonFiniteLossError(
            f"expected a finite loss, found {', '.join(broken) or 'the sum'} not finite in rows "
            f"{self.rows} to {self.rows + batch.num_rows - 1} of the source "
            f"(time_ms {times[0]} to {times[-1]}); stopped before learning from them"
        )
