"""torch-rechub's MMOE in its own `MTLTrainer`, fed by its own `DataGenerator`."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch_rechub.basic.features import SparseFeature
from torch_rechub.models.multi_task import MMOE
from torch_rechub.trainers import MTLTrainer
from torch_rechub.utils.data import DataGenerator

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


class Contender:
    """The network of the workload, with batch normalisation in every layer, which cannot be turned off.

    Args:
        variant: `documented` is the trainer's own Adam; `tuned` is torch's fused one without weight decay.
            Worker processes for the loader make it slower on two cores, so neither has them.
    """

    def __init__(self, variant: str) -> None:
        settings = {"documented": None, "tuned": {"lr": LEARNING_RATE, "fused": True}}[variant]
        kinds = ["classification"] * len(HEADS)
        model = MMOE(
            [SparseFeature(name, vocab_size=IDS, embed_dim=DIM) for name in COLUMNS],
            kinds,
            n_expert=EXPERTS,
            expert_params={"dims": list(EXPERT)},
            tower_params_list=[{"dims": list(TOWER)}] * len(HEADS),
        )
        self.trainer = MTLTrainer(model, kinds, optimizer_params=settings)

    def train(self, rows: Rows) -> None:
        """Train one epoch in the random order of the loader."""
        loader, _, _ = DataGenerator(self._inputs(rows), rows.labels).generate_dataloader(
            x_val={}, y_val=[], x_test={}, y_test=[], batch_size=BATCH
        )
        self.trainer.train_one_epoch(loader)

    def predict(self, rows: Rows) -> NDArray[np.float64]:
        """Predict probabilities, (N, heads)."""
        self.trainer.model.eval()
        with torch.no_grad():
            return (
                self.trainer.model({k: torch.from_numpy(v) for k, v in self._inputs(rows).items()})
                .double()
                .numpy()
            )

    def _inputs(self, rows: Rows) -> dict[str, NDArray[np.int64]]:
        return {name: np.ascontiguousarray(rows.ids[:, index]) for index, name in enumerate(COLUMNS)}
