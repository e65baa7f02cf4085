"""The contenders: networks of a spec and of specs derived from it, and boosted trees.

Every run is a task of a process pool with one single-threaded process per core.

Shape letters: S seeds, N rows of all days, T tasks.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from load_tests.judging.log import Day, Log
from load_tests.judging.one_pass import FROZEN, LIVE, Predictions, one_pass, second_pass
from load_tests.judging.trees import TreeDay, settings_of
from load_tests.judging.variants import KINDS, single_task, without
from ranker.networks.match_multiplications import with_kind
from ranker.spec import RankerSpec
from training.sources.registry import open_source

OURS: Final = "watchnext"
TREES: Final = "LightGBM"
SINGLE: Final = "single-task"
SECOND: Final = "second pass"
UNDATED: Final = " with undated columns"
"""Ends the name of a contender that also reads the columns that may tell what happened later."""
BySeed = dict[str, NDArray[np.float64]]
"""A contender's predictions by mode: (S, N, T)."""


@dataclass(frozen=True)
class Contest:
    """The runs of a comparison.

    Attributes:
        spec: The ranker, without columns of undated tables.
        undated: The ranker with them; the same as `spec` if there are none.
        data: Folder of the log.
        days: Days that are predicted, in order.
        seeds: Seeds of the networks.
    """

    spec: RankerSpec
    undated: RankerSpec
    data: str
    days: tuple[Day, ...]
    seeds: tuple[int, ...]

    @property
    def binary(self) -> list[int]:
        """Indices of the tasks that have an AUC."""
        return [index for index, task in enumerate(self.spec.tasks) if task.is_probability]

    @property
    def other_kind(self) -> str:
        """The kind of network that the spec does not have."""
        return "mmoe" if self.spec.network.kind == "shared_bottom" else "shared_bottom"

    @cached_property
    def networks(self) -> dict[str, RankerSpec]:
        """The specs of all networks for all tasks, by name."""
        found = {OURS: self.spec, self.other_kind: with_kind(self.spec, self.other_kind)}
        if self.undated != self.spec:
            found[OURS + UNDATED] = self.undated
        for what in KINDS:
            spec = without(self.spec, what)
            if spec is not None:
                found[f"without {what}"] = spec
        return found

    @property
    def trees(self) -> dict[str, RankerSpec]:
        """The specs whose features the trees get, by name."""
        undated = {} if self.undated == self.spec else {TREES + UNDATED: self.undated}
        return {TREES: self.spec, **undated}

    @cached_property
    def single_tasks(self) -> dict[str, RankerSpec]:
        """The specs of the single-task networks, by binary task."""
        names = [self.spec.tasks[index].name for index in self.binary]
        return {name: single_task(self.spec, name) for name in names}

    def run(self, show: Callable[[str], None]) -> dict[str, BySeed]:
        """Run all contenders.

        Args:
            show: Called with a line about every run that has ended.

        Returns:
            The predictions of each contender; NaN for tasks without predictions.
        """
        parts: dict[tuple[str, int, str], Predictions] = {}
        with workers(self.data) as pool:
            runs: dict[Future[Predictions], tuple[str, int, str]] = {}
            for seed in self.seeds:
                runs[pool.submit(_second_pass, self.spec, self.days, seed)] = (SECOND, seed, "")
                for name, spec in self.networks.items():
                    runs[pool.submit(_one_pass, spec, self.days, seed)] = (name, seed, "")
            for name, spec in self.trees.items():
                for day in reversed(self.days):
                    runs[pool.submit(_trees, spec, day)] = (name, 0, str(day))
            for seed in self.seeds:
                for name, spec in self.single_tasks.items():
                    runs[pool.submit(_one_pass, spec, self.days, seed)] = (SINGLE, seed, name)
            for done, run in enumerate(as_completed(runs), start=1):
                parts[runs[run]] = run.result()
                name, seed, part = runs[run]
                show(f"{done} of {len(runs)}: {name} {part} {'' if name in self.trees else f'seed {seed}'}")
        return {
            **{n: self._of_days([parts[n, 0, str(day)] for day in self.days]) for n in self.trees},
            SINGLE: self._of_tasks({name: self._of_seeds(parts, SINGLE, name) for name in self.single_tasks}),
            **{name: self._of_seeds(parts, name) for name in (*self.networks, SECOND)},
        }

    def _of_seeds(self, parts: dict[tuple[str, int, str], Predictions], name: str, part: str = "") -> BySeed:
        modes = parts[name, self.seeds[0], part]
        return {mode: np.stack([parts[name, seed, part][mode] for seed in self.seeds]) for mode in modes}

    @staticmethod
    def _of_days(days: Sequence[Predictions]) -> BySeed:
        return {mode: np.concatenate([day[mode] for day in days])[None] for mode in days[0]}

    def _of_tasks(self, tasks: dict[str, BySeed]) -> BySeed:
        """Combine the single-task networks' predictions to (S, N, T)."""
        index_of = dict(zip(tasks, self.binary, strict=True))
        found = {}
        for mode, first in next(iter(tasks.values())).items():
            found[mode] = np.full((*first.shape[:2], len(self.spec.tasks)), np.nan)
            for name, predictions in tasks.items():
                found[mode][:, :, index_of[name]] = predictions[mode][:, :, 0]
        return found


@contextmanager
def workers(data: str) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of processes that have read the log, one per core."""
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), _begin, (data,)) as pool:
        yield pool


_LOG: list[Log] = []
"""The log of this worker process; one item."""


def worker_log() -> Log:
    """Return the log that this worker process has read."""
    return _LOG[0]


def _begin(data: str) -> None:
    torch.set_num_threads(1)
    _LOG.append(Log(open_source(data)))


def _one_pass(spec: RankerSpec, days: Sequence[Day], seed: int) -> Predictions:
    return one_pass(spec, worker_log(), days, seed)


def _second_pass(spec: RankerSpec, days: Sequence[Day], seed: int) -> Predictions:
    return second_pass(spec, worker_log(), days, seed)


def _trees(spec: RankerSpec, day: Day) -> Predictions:
    inputs = TreeDay(spec, worker_log(), day)
    columns: dict[str, list[Any]] = {FROZEN: [], LIVE: []}
    for task in spec.tasks:
        if task.is_probability:
            settings = settings_of(task.name)
            (predicted,) = inputs.grow(task.name, settings, [settings.trees])
        else:
            predicted = {mode: np.full(inputs.judged_rows, np.nan) for mode in columns}
        for mode, column in predicted.items():
            columns[mode].append(column)
    return {mode: np.stack(found, axis=1) for mode, found in columns.items()}
