"""Choice of the trees' settings on days before those of the comparison."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from load_tests.judging.contenders import worker_log, workers
from load_tests.judging.log import Day, Truth
from load_tests.judging.one_pass import LIVE
from load_tests.judging.trees import TUNED, Settings, TreeDay
from ranker.metrics.exact import auc
from ranker.spec import RankerSpec

COUNTS: Final = (150, 300)
"""Numbers of trees after which each setting is evaluated."""
GRID: Final = (
    Settings(columns=0.3),
    Settings(columns=0.3, leaf_rows=100),
    Settings(columns=0.3, leaf_rows=100, ids="by frequency"),
    Settings(),
)
"""The best settings of a coarse search; all have a rate of 0.03, 15 leaves and an L2 penalty of 20."""


def tune(
    spec: RankerSpec, data: str, days: Sequence[Day], show: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Evaluate every setting on every day with live features.

    Returns:
        For each setting, its text and the AUC of the heads in TUNED, averaged over the days.
    """
    with workers(data) as pool:
        runs = [pool.submit(_judge, spec, day) for day in days]
        areas = np.mean([run.result() for run in runs], axis=0)  # settings, heads, counts
    rows = []
    for settings, of_heads in zip(GRID, areas, strict=True):
        for trees, found in zip(COUNTS, of_heads.T.tolist(), strict=True):
            row = {"settings": str(replace(settings, trees=trees)), **dict(zip(TUNED, found, strict=True))}
            rows.append(row)
            show(str(row))
    for head in TUNED:
        show(f"{head}: best with {max(rows, key=lambda row: row[head])['settings']}")
    return rows


def _judge(spec: RankerSpec, day: Day) -> list[list[list[float]]]:
    log = worker_log()
    inputs = TreeDay(spec, log, day)
    labels = Truth.of(log, spec, [day]).labels.astype(np.float64)
    index_of = {task.name: index for index, task in enumerate(spec.tasks)}
    return [
        [
            [auc(labels[:, index_of[head]], grown[LIVE]) for grown in inputs.grow(head, settings, COUNTS)]
            for head in TUNED
        ]
        for settings in GRID
    ]
