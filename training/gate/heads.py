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

    The trainer's predictions are the honest ones, but of weights that are neither averaged nor corrected. So
    what will be exported is compared as well: it has learned the rows and is a little better on them, and if
    it is worse all the same, something is wrong with it.

    Args:
        task: The head's.
        rows: With a label.
        bounds: What is held back.
        auc_before: The AUC on unseen rows when the bundle that ranks was published; None if unknown.

    Attributes:
        figures: What was found.
        reasons: Why the bundle has to be held back.
        surely_better: Whether its loss is surely smaller.
        surely_worse: Whether it is surely greater.
    """

    def __init__(self, task: Task, rows: HeadRows, bounds: GateSpec, auc_before: float | None) -> None:
        self._task, self._rows, self._bounds = task, rows, bounds
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
        if self._task.is_probability:  # the loss of others says little before their mean is corrected
            predictions["_unseen"] = rows.unseen
        losses = {name: self._task.row_losses(rows.labels, given) for name, given in predictions.items()}
        self.figures |= {f"loss{name}": finite(float(loss.mean())) for name, loss in losses.items()}
        before = losses.pop("_before")
        allowed = self._bounds.loss * float(before.mean())
        for name, loss in losses.items():
            difference = mean_interval(loss - before, rows.viewers)
            if not self._says_much:
                continue
            if not name:
                self.surely_better, self.surely_worse = difference.high < 0, difference.low > 0
            if difference.low > allowed:
                self._hold(
                    f"a loss{_on(name)} at most {self._bounds.loss:.0%} above the {before.mean():.4g} of the "
                    "bundle that ranks",
                    f"{loss.mean():.4g}, {_signed(difference)}",
                )

    def _auc(self, auc_before: float | None) -> None:
        rows = self._rows
        for name, predictions in (("_before", rows.current), ("_unseen", rows.unseen), ("", rows.new)):
            self.figures[f"auc{name}"] = finite(auc(rows.labels, predictions))
        for name, predictions in (("_unseen", rows.unseen), ("", rows.new)):
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
