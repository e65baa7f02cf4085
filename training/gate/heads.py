"""Two models' predictions of one head on the same rows: what is surely worse, and by how much.

Shape letters: N rows with a label.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranker.bundles.verdict import Figures
from ranker.gate_spec import GateSpec
from ranker.labels.head_report import finite
from ranker.labels.label import Task
from ranker.metrics.clustered_mean import mean_interval
from ranker.metrics.exact import auc, calibration
from ranker.metrics.intervals import (
    Interval,
    auc_difference_interval,
    auc_interval,
    number_viewers,
    too_few,
)

Floats = NDArray[np.float64]
REPLICATES: Final = 300
"""Draws of viewers for an interval."""


@dataclass(frozen=True)
class HeadRows:
    """The rows on which a head is compared.

    Attributes:
        labels: (N,) in natural units.
        viewers: (N,) viewers.
        current: (N,) predictions of the bundle that ranks, which has not learned the rows.
        unseen: (N,) predictions of the trainer, before it learned from the rows.
        new: (N,) predictions of the new bundle, which has learned them.
    """

    labels: Floats
    viewers: NDArray[Any]
    current: Floats
    unseen: Floats
    new: Floats


class HeadComparison:
    """A head of a new bundle beside that of the one that ranks.

    The trainer's predictions are the honest ones, but of weights that are neither averaged nor corrected; in
    a run's first steps those are much worse than what is exported. So what will be exported is compared as
    well: it has learned the rows and is better on them than it will be on others, and if it is worse all the
    same, something is wrong with it.

    Args:
        task: The head's.
        rows: With a label.
        bounds: What is held back.
        settled: Whether the run is past its first steps, so that the trainer's predictions count.
        auc_before: The AUC on unseen rows when the bundle that ranks was published; None if unknown.

    Attributes:
        figures: What was found.
        reasons: Why the bundle has to be held back.
        surely_better: Whether its loss is surely smaller, on rows not yet learned if that can be told.
        surely_worse: Whether that of what will be exported is surely greater.
    """

    def __init__(
        self, task: Task, rows: HeadRows, bounds: GateSpec, *, settled: bool, auc_before: float | None
    ) -> None:
        self._task, self._rows, self._bounds, self._settled = task, rows, bounds, settled
        self.figures: Figures = {}
        self.reasons: list[str] = []
        self.surely_better = self.surely_worse = False
        if not len(rows.labels):
            return
        # Without a positive the loss is next to nothing, and so is what it may be worse by.
        self._says_much = not (task.is_probability and too_few(rows.labels, number_viewers(rows.viewers)))
        self._calibration()
        self._loss()
        if task.is_probability:
            self._auc(auc_before)

    def _loss(self) -> None:
        rows = self._rows
        predictions = {"_before": rows.current, "": rows.new}
        if self._task.learns_mean:  # the loss of others says little before their mean is corrected
            predictions["_unseen"] = rows.unseen
        losses = {name: self._task.row_losses(rows.labels, given) for name, given in predictions.items()}
        self.figures |= {f"loss{name}": finite(float(loss.mean())) for name, loss in losses.items()}
        if not self._says_much:
            return
        before = losses.pop("_before")
        allowed = self._bounds.loss * float(before.mean())
        for name, loss in losses.items():
            difference = mean_interval(loss - before, rows.viewers)
            counts = self._settled or not name
            if counts and difference.low > allowed:
                self._hold(
                    f"a loss{_on(name)} at most {self._bounds.loss:.0%} above the {before.mean():.4g} of the "
                    "bundle that ranks",
                    f"{loss.mean():.4g}, {_signed(difference)}",
                )
            if counts:  # the one that is not learned comes last, and decides
                self.surely_better = difference.high < 0
            if not name:
                self.surely_worse = difference.low > 0

    def _auc(self, auc_before: float | None) -> None:
        rows = self._rows
        for name, predictions in (("_before", rows.current), ("_unseen", rows.unseen), ("", rows.new)):
            self.figures[f"auc{name}"] = finite(auc(rows.labels, predictions))
        for name, predictions in (("_unseen", rows.unseen), ("", rows.new)):
            if name and not self._settled:
                continue
            difference = auc_difference_interval(
                rows.labels, predictions, rows.current, rows.viewers, replicates=REPLICATES
            )
            if difference.high < -self._bounds.auc:
                self._hold(
                    f"an AUC{_on(name)} at most {self._bounds.auc:g} below the "
                    f"{self.figures['auc_before']:.4f} of the bundle that ranks",
                    f"{self.figures[f'auc{name}']:.4f}, {_signed(difference)}",
                )
        if auc_before is not None:
            found = auc_interval(rows.labels, rows.unseen, rows.viewers, replicates=REPLICATES)
            if found.high < auc_before - self._bounds.auc_fall:
                self._hold(
                    f"an AUC{_on('_unseen')} at most {self._bounds.auc_fall:g} below the {auc_before:.4f} "
                    "that it was when the bundle that ranks was published",
                    f"{found.estimate:.4f} ({found.low:.4f} to {found.high:.4f}): labels may be wrong",
                )

    def _calibration(self) -> None:
        rows, most = self._rows, self._bounds.calibration
        ratios = {
            "_before": calibration(rows.labels, rows.current),
            "": calibration(rows.labels, rows.new),
        }
        self.figures |= {f"calibration{name}": finite(ratio) for name, ratio in ratios.items()}
        high = mean_interval(rows.new - most * rows.labels, rows.viewers)
        low = mean_interval(rows.new - rows.labels / most, rows.viewers)
        before, now = (abs(np.log(max(ratio, 1e-9))) for ratio in ratios.values())
        if self._says_much and (high.low > 0 or low.high < 0) and not now <= before:
            self._hold(
                f"a mean prediction within a factor {most:g} of the mean label, {rows.labels.mean():.4g}",
                f"{rows.new.mean():.4g} (the bundle that ranks: {rows.current.mean():.4g})",
            )

    def _hold(self, expected: str, found: str) -> None:
        self.reasons.append(f"{self._task.name}: expected {expected}, found {found}")


def _on(name: str) -> str:
    return " on rows not yet learned" if name else ""


def _signed(difference: Interval) -> str:
    return f"{difference.estimate:+.4g} ({difference.low:+.4g} to {difference.high:+.4g})"
