"""Choosing how the trees are grown, on days before those that are judged."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from load_tests.judging.contenders import worker_log, workers
from load_tests.judging.log import Day, Truth
from load_tests.judging.one_pass import LIVE
from load_tests.judging.trees import Settings, TreeDay
from ranker.metrics.exact import auc
from ranker.spec import RankerSpec

TREES: Final = (150, 300)
"""After how many trees each setting is judged."""
GRID: Final = (
    Settings(columns=0.3),
    Settings(columns=0.3, leaf_rows=100),
    Settings(columns=0.3, leaf_rows=100, ids="by frequency"),
    Settings(),
)
"""What a first look found worth while; all with a rate of 0.03, 15 leaves and an L2 penalty of 20."""
HEADS: Final = ("click", "long_view", "like", "profile_enter")
"""The heads that have enough positives to choose by."""


def tune(
    spec: RankerSpec, data: str, days: Sequence[Day], show: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Judge every setting on every day with live features: AUC by head, mean over the days."""
    rows = []
    with workers(data) as pool:
        runs = {settings: [pool.submit(_judge, spec, day, settings) for day in days] for settings in GRID}
        for settings, of_days in runs.items():
            by_day = np.array([run.result() for run in of_days])  # days, heads, numbers of trees
            for place, trees in enumerate(TREES):
                found = by_day[:, :, place].mean(axis=0)
                row = {
                    "settings": str(settings).replace(f"{settings.trees} trees", f"{trees} trees", 1),
                    **dict(zip(HEADS, found.tolist(), strict=True)),
                }
                rows.append(row)
                show(str(row))
    for head in HEADS:
        show(f"{head}: best with {max(rows, key=lambda row: row[head])['settings']}")
    return rows


def _judge(spec: RankerSpec, day: Day, settings: Settings) -> list[list[float]]:
    log = worker_log()
    inputs = TreeDay(spec, log, day)
    labels = Truth.of(log, spec, [day]).labels.astype(np.float64)
    places = {task.name: place for place, task in enumerate(spec.tasks)}
    return [
        [auc(labels[:, places[head]], grown[LIVE]) for grown in inputs.grow(head, settings, TREES)]
        for head in HEADS
    ]
