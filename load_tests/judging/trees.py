"""Gradient-boosted trees, one model per head, trained anew for each day.

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
from ranker.events import TIME_MS
from ranker.labels.matrix import known_by, label_matrix
from ranker.spec import RankerSpec


@dataclass(frozen=True)
class Settings:
    """Settings of LightGBM.

    Attributes:
        trees: Number of trees.
        leaves: Maximum number of leaves per tree.
        rate: Learning rate.
        l2: L2 penalty on the leaves' values.
        columns: Share of the columns that are drawn for a tree.
        leaf_rows: Minimum number of rows per leaf.
        ids: Whether ids are left out, or numbered by their frequency.
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
"""The best settings in `tuning`, of heads with enough positives."""
UNTUNED: Final = Settings(columns=0.3)
"""The settings of the other heads."""


def settings_of(head: str) -> Settings:
    """Return the settings of a head."""
    return TUNED.get(head, UNTUNED)


class TreeDay:
    """A day, and trees that predict it after training on all earlier rows.

    Args:
        spec: Names features and tasks.
        log: The log.
        day: The day.

    Attributes:
        judged_rows: Number of the day's rows.
    """

    def __init__(self, spec: RankerSpec, log: Log, day: Day) -> None:
        self._lightgbm = library()
        self._spec = spec
        self._inputs = TreeInputs(spec)
        self._learned, frozen, live = self._inputs.read(log, day)
        self._judged = {FROZEN: frozen, LIVE: live}
        learned = log.rows(None, day.since_ms)
        labels, times = label_matrix(learned, spec.feedback), learned.column(TIME_MS).to_numpy()
        self._labels = known_by(day.since_ms, labels, times, spec.feedback)  # as the network learns them
        self.judged_rows = log.rows(day.since_ms, day.until_ms).num_rows

    def grow(self, head: str, settings: Settings, trees: Sequence[int]) -> Iterator[Predictions]:
        """Train on one binary head, and predict the day.

        Args:
            head: Name of the task.
            settings: The settings; `trees` is not used.
            trees: Numbers of trees after which the day is predicted.

        Yields:
            For each number of trees, (R,) probabilities by FROZEN and LIVE.
        """
        x, categorical = self._matrix(self._learned, settings)
        index = [task.name for task in self._spec.tasks].index(head)
        label = self._labels[:, index]
        known = ~np.isnan(label)
        parameters: dict[str, Any] = {
            "objective": "binary",
            "num_leaves": settings.leaves,
            "learning_rate": settings.rate,
            "lambda_l2": settings.l2,
            "feature_fraction": settings.columns,
            "min_data_in_leaf": settings.leaf_rows,
            "num_threads": 1,
            "force_col_wise": True,  # else LightGBM times both ways first
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
        """Return the matrix, (R, C), and the indices of its categorical columns."""
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
    """Import LightGBM, or exit with what is missing."""
    try:
        import lightgbm
    except ImportError:
        sys.exit("expected lightgbm, found none: pip install '.[dev]'")
    except OSError as error:  # its shared library needs the system's OpenMP runtime
        sys.exit(f"expected libgomp.so.1, found: {error}; install libgomp1 (apt) or libgomp (dnf)")
    return lightgbm
