"""The rows, network and batch size that all contenders have in common."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLUMNS = tuple(f"id_{index}" for index in range(12))
HEADS = ("click", "long_view", "like", "follow")
IDS = 100_000  # values of every column, 0 to IDS - 1
DIM = 16
EXPERTS, EXPERT, TOWER = 8, (256, 128), (64,)
BATCH = 4096
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Rows:
    """Rows to train on.

    Attributes:
        ids: (N, 12) int64, in [0, IDS).
        labels: (N, 4) float32, 0 or 1.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.float32]

    def cut(self, first: int, stop: int) -> "Rows":
        """Return the rows from `first` to before `stop`."""
        return Rows(self.ids[first:stop], self.labels[first:stop])


def draw(rows: int, seed: int) -> Rows:
    """Draw ids of Zipf's distribution, and labels that depend on them.

    Args:
        rows: N, the number of rows.
        seed: Seed of the generator.
    """
    random = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, IDS + 1)
    cumulative = np.cumsum(popularity) / popularity.sum()
    ids = np.searchsorted(cumulative, random.random((rows, len(COLUMNS)))).clip(max=IDS - 1)
    effect = random.normal(scale=0.5, size=(len(HEADS), len(COLUMNS), IDS))
    logit = np.stack([per_head[np.arange(len(COLUMNS)), ids].sum(axis=1) for per_head in effect], axis=1)
    chance = 1 / (1 + np.exp(1 - logit))
    return Rows(ids, (random.random(chance.shape) < chance).astype(np.float32))
