"""DeepCTR-Torch's MMOE in its own `fit`."""

import sys
import types

import numpy as np
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

# On import the package looks up its newest version over the network; an empty module prevents that
sys.modules.setdefault("requests", types.ModuleType("requests"))

from deepctr_torch.inputs import SparseFeat  # noqa: E402
from deepctr_torch.models.multitask import MMOE  # noqa: E402


class Contender:
    """The network of the workload, with one linear layer per gate as in the other contenders.

    Args:
        variant: `documented` is `compile("adam")` with the package's own settings; `tuned` takes torch's
            fused Adam and no penalty on the embeddings, which would read all tables in every step.
    """

    def __init__(self, variant: str) -> None:
        tuned = {"documented": False, "tuned": True}[variant]
        self.model = MMOE(
            [SparseFeat(name, vocabulary_size=IDS, embedding_dim=DIM) for name in COLUMNS],
            num_experts=EXPERTS,
            expert_dnn_hidden_units=EXPERT,
            gate_dnn_hidden_units=(),
            tower_dnn_hidden_units=TOWER,
            task_types=["binary"] * len(HEADS),
            task_names=list(HEADS),
            **({"l2_reg_embedding": 0} if tuned else {}),
        )
        fused = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE, fused=True)
        self.model.compile(fused if tuned else "adam", loss=["binary_crossentropy"] * len(HEADS))

    def train(self, rows: Rows) -> None:
        """Train one epoch in the order of the rows."""
        self.model.fit(self._inputs(rows), rows.labels, batch_size=BATCH, epochs=1, verbose=0, shuffle=False)

    def predict(self, rows: Rows) -> NDArray[np.float64]:
        """Predict probabilities, (N, heads)."""
        return np.asarray(self.model.predict(self._inputs(rows), batch_size=BATCH))

    def _inputs(self, rows: Rows) -> dict[str, NDArray[np.int64]]:
        return {name: rows.ids[:, index] for index, name in enumerate(COLUMNS)}
