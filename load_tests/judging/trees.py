"""Gradient-boosted trees, one model a head, trained anew for each day.

Source: Ke et al., LightGBM, NeurIPS 2017.

Shape letters: R rows, C columns.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, Literal

import numpy as np

from load_tests.judging.log import Day, Log
from load_tests.judging.one_pass import FROZEN, LIVE, Predictions
from load_tests.judging.tree_inputs import Floats, Matrix, TreeInputs, ranks
from ranker.labels.matrix import label_matrix
from ranker.spec import RankerSpec


@dataclass(frozen=True)
class Settings:
    """How trees are grown.

    Attributes:
        trees: How many.
        leaves: Of each.
        rate: Of learning.
        l2: Penalty on the leaves' values.
        columns: Share of the columns that a tree may use.
        leaf_rows: Fewest rows of a leaf.
        ids: What becomes of ids: left out, or numbered by how frequent they are.
    """

    trees: int = 150
    leaves: int = 15
    rate: float = 0.03
    l2: float = 20.0
    columns: float = 1.0
    leaf_rows: int = 20
    ids: Literal["left out", "by frequency"] = "left out"

    def __str__(self) -> str:
        return (
            f"{self.trees} trees of {self.leaves} leaves, rate {self.rate:g}, L2 {self.l2:g}, "
            f"at least {self.leaf_rows} rows a leaf, {self.columns:.0%} of the columns a tree, ids {self.ids}"
        )


TUNED: Final = {
    "click": Settings(trees=300, columns=0.3),
    "long_view": Settings(trees=300, columns=0.3, leaf_rows=100),
    "like": Settings(columns=0.3, leaf_rows=100, ids="by frequency"),
    "profile_enter": Settings(trees=300, columns=0.3, leaf_rows=100, ids="by frequency"),
}
"""What `tuning` found best for the heads that have enough positives."""
UNTUNED: Final = Settings(columns=0.3)
"""Of the others."""


def settings_of(head: str) -> Settings:
    """How a head's trees are grown."""
    return TUNED.get(head, UNTUNED)


class TreeDay:
    """A day to be predicted by trees that learned from all before it.

    Args:
        spec: Names features and tasks.
        log: The log.
        day: The day.

    Attributes:
        judged_rows: R of the day.
    """

    def __init__(self, spec: RankerSpec, log: Log, day: Day) -> None:
        self._lightgbm = library()
        self._spec = spec
        self._inputs = TreeInputs(spec)
        self._learned, frozen, live = self._inputs.read(log, day)
        self._judged = {FROZEN: frozen, LIVE: live}
        self._labels = label_matrix(log.rows(None, day.since_ms), spec.feedback)
        self.judged_rows = log.rows(day.since_ms, day.until_ms).num_rows

    def grow(self, head: str, settings: Settings, trees: Sequence[int]) -> Iterator[Predictions]:
        """Predict the day after learning one binary head.

        Args:
            head: Name of the task.
            settings: How, but for how many.
            trees: After how many the day is predicted; the most of them are grown.

        Yields:
            For each number of trees, by FROZEN and LIVE, (R,) probabilities.
        """
        x, categorical = self._matrix(self._learned, settings)
        place = [task.name for task in self._spec.tasks].index(head)
        label = self._labels[:, place]
        known = ~np.isnan(label)
        parameters: dict[str, Any] = {
            "objective": "binary",
            "num_leaves": settings.leaves,
            "learning_rate": settings.rate,
            "lambda_l2": settings.l2,
            "feature_fraction": settings.columns,
            "min_data_in_leaf": settings.leaf_rows,
            "num_threads": 1,
            "force_col_wise": True,  # else it times both ways first
            "deterministic": True,
            "seed": 0,
            "verbose": -1,
        }
        rows = self._lightgbm.Dataset(x[known], label[known], categorical_feature=categorical)
        booster = self._lightgbm.train(parameters, rows, max(trees))
        judged = {mode: self._matrix(matrix, settings)[0] for mode, matrix in self._judged.items()}
        for count in trees:
            yield {mode: booster.predict(rows, num_iteration=count) for mode, rows in judged.items()}

    def _matrix(self, matrix: Matrix, settings: Settings) -> tuple[Floats, list[int]]:
        """(R, C), and the places of the categories."""
        columns = list(matrix.numbers.values())
        categorical = []
        for name, keys in matrix.keys.items():
            is_id = name in self._inputs.ids
            if is_id and settings.ids == "left out":
                continue
            if not is_id:
                categorical.append(len(columns))
            columns.append(ranks(self._learned.keys[name], keys))
        return np.stack(columns, axis=1), categorical


def library() -> ModuleType:
    """LightGBM; the run ends with what is missing if it cannot be loaded."""
    try:
        import lightgbm
    except ImportError:
        sys.exit("expected lightgbm, found none: pip install '.[dev]'")
    except OSError as error:  # its shared library needs the system's OpenMP runtime
        sys.exit(f"expected libgomp.so.1, found: {error}; install libgomp1 (apt) or libgomp (dnf)")
    return lightgbm
