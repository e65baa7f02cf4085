"""watchnext's own trainer: Arrow record batches in, predict, score, learn."""

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from load_tests.peers.workload import (
    BATCH,
    COLUMNS,
    DIM,
    EXPERT,
    EXPERTS,
    HEADS,
    IDS,
    LEARNING_RATE,
    TOWER,
    Rows,
)
from ranker.device import fast_bfloat16
from ranker.features.kinds.columns import IdFeature, Side
from ranker.labels.label import Task
from ranker.labels.natural_units import natural_units
from ranker.networks.sharing.mmoe import MMoESpec
from ranker.score.product import ProductSpec
from ranker.score.terms import ScoreTerm
from ranker.spec import RankerSpec, TrainingSpec
from training.trainer import Trainer

SPEC = RankerSpec(
    name="training_speed",
    features=tuple(IdFeature(name=n, side=Side.CANDIDATE, kind="id", buckets=IDS, dim=DIM) for n in COLUMNS),
    tasks=tuple(Task(name=head, group="engagement", kind="binary") for head in HEADS),
    network=MMoESpec(shared=(), experts=EXPERTS, expert=EXPERT, tower=TOWER, linear=False, gate_dropout=0),
    training=TrainingSpec(batch_size=BATCH, learning_rate=LEARNING_RATE),
    score=ProductSpec(terms=(ScoreTerm(head=HEADS[0]),)),
)


class Contender:
    """The network of the workload, without gate dropout and linear part, which the others lack.

    Args:
        variant: `default` takes bfloat16 where the processor is fast at it, as the command does;
            `float32` does not.
    """

    def __init__(self, variant: str) -> None:
        device = torch.device("cpu")
        bfloat16 = {"default": fast_bfloat16(device), "float32": False}[variant]
        self.trainer = Trainer(SPEC, seed=0, device=device, bfloat16=bfloat16)

    def train(self, rows: Rows) -> None:
        """One pass in the given order."""
        for batch in self._table(rows).to_batches(max_chunksize=BATCH):
            self.trainer.step(batch)

    def predict(self, rows: Rows) -> NDArray[np.float64]:
        """Probabilities: (N, heads)."""
        (batch,) = self._table(rows).combine_chunks().to_batches()
        self.trainer.model.eval()
        with torch.no_grad():
            logit = self.trainer.model(self.trainer.encoder.encode_examples(batch, observe=False))
        self.trainer.model.train()
        return natural_units(logit, SPEC.tasks)

    def _table(self, rows: Rows) -> pa.Table:
        columns = {name: rows.ids[:, index] for index, name in enumerate(COLUMNS)}
        labels = {head: rows.labels[:, index] for index, head in enumerate(HEADS)}
        return pa.table({"time_ms": np.arange(len(rows.ids)), **columns, **labels})
