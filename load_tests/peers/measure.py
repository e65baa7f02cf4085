"""Measurement of one contender in its own process.

python -m load_tests.peers.measure NAME VARIANT --rows N --out FILE
"""

import argparse
import importlib
import json
import time
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from load_tests.peers.workload import BATCH, HEADS, Rows, draw
from ranker.metrics.exact import auc

WARM_UP = 3 * BATCH
HELD_OUT = 8 * BATCH


class Contender(Protocol):
    """The interface of `Contender` in a contender's module."""

    def train(self, rows: Rows) -> None:
        """Train one epoch, beginning with numpy arrays."""

    def predict(self, rows: Rows) -> NDArray[np.float64]:
        """Predict probabilities, (N, heads)."""


def main() -> None:
    """Warm up, time the training, and compute the AUC on further rows."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("name", help="a module of load_tests.peers with a Contender")
    arguments.add_argument("variant", help="which settings; see that module")
    arguments.add_argument("--rows", type=int, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    given = arguments.parse_args()

    contender: Contender = importlib.import_module(f"load_tests.peers.{given.name}").Contender(given.variant)
    rows = draw(WARM_UP + given.rows + HELD_OUT, seed=0)
    contender.train(rows.cut(0, WARM_UP))
    start, start_cpu = time.perf_counter(), time.process_time()
    contender.train(rows.cut(WARM_UP, WARM_UP + given.rows))
    elapsed_s, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu

    held_out = rows.cut(WARM_UP + given.rows, len(rows.ids))
    predicted = contender.predict(held_out)
    areas = [auc(held_out.labels[:, head].astype(float), predicted[:, head]) for head in range(len(HEADS))]
    result = {
        "rows_per_s": given.rows / elapsed_s,
        "cores_used": cpu_s / elapsed_s,
        "auc": float(np.mean(areas)),
        "threads": torch.get_num_threads(),
    }
    given.out.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
