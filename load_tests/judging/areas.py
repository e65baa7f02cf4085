"""AUC of several contenders on the same rows and bootstrap draws of viewers, for paired comparisons.

The AUC of several days is the mean over the days, because candidates that are ranked together are predicted
by one model. The AUC of several seeds is the mean over the seeds. Viewers are drawn with all their rows of
all days, so the interval describes the variation over viewers, and not over seeds.

Shape letters: N rows, T tasks, S seeds, D days, R replicates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from load_tests.judging.log import Truth
from ranker.metrics.intervals import number_viewers, percentile_interval, too_few, viewer_draws
from ranker.metrics.weighted_auc import WeightedAuc

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gain:
    """The difference of two contenders' AUC on the same rows.

    Attributes:
        ours: Our AUC, mean over seeds and days.
        theirs: The other contender's AUC.
        gain: The difference of the two.
        interval: 95 % interval of the difference, paired over viewers; None if the rows are too few.
        no_interval: Why there is none; empty if there is.
        seeds: AUC of each of our seeds minus the mean of theirs.
    """

    ours: float
    theirs: float
    gain: float
    interval: tuple[float, float] | None
    no_interval: str
    seeds: tuple[float, ...]


class Areas:
    """AUC of every contender for one task, on all rows and on every draw.

    Args:
        truth: Labels, viewers and days of the rows.
        index: Index of the task.
        contenders: (S, N) predictions of each contender.
        replicates: R, the number of draws.
    """

    def __init__(self, truth: Truth, index: int, contenders: Mapping[str, Floats], replicates: int) -> None:
        label = truth.labels[:, index].astype(np.float64)
        days = int(truth.day.max()) + 1
        rows = [np.flatnonzero((truth.day == day) & ~np.isnan(label)) for day in range(days)]
        areas = {
            name: [[WeightedAuc(label[of], scores[of]) for of in rows] for scores in by_seed]
            for name, by_seed in contenders.items()
        }
        viewer = number_viewers(truth.viewers)
        self._rows = [(label[of], viewer[of]) for of in rows]
        everyone = np.ones(len(label))
        self._drawn = {
            name: np.empty((1 + replicates, len(of_seeds), days)) for name, of_seeds in areas.items()
        }
        for draw, weights in enumerate([everyone, *viewer_draws(viewer, replicates, 0)]):
            weight = [weights[of] for of in rows]
            for name, of_seeds in areas.items():
                self._drawn[name][draw] = [
                    [area(w) for area, w in zip(of_days, weight, strict=True)] for of_days in of_seeds
                ]

    def gain(self, ours: str, theirs: str, days: Sequence[int] | None = None) -> Gain:
        """Compare two contenders.

        Args:
            ours: Name of the contender whose gain is computed.
            theirs: Name of the other one.
            days: Indices of the days; None for all.
        """
        at = list(range(len(self._rows))) if days is None else list(days)
        mine, other = (self._drawn[name][:, :, at].mean(axis=2) for name in (ours, theirs))  # (1 + R, S)
        difference = mine.mean(axis=1) - other.mean(axis=1)
        label, viewer = (np.concatenate([self._rows[day][part] for day in at]) for part in (0, 1))
        reason = too_few(label, viewer)
        found = percentile_interval(float(difference[0]), difference[1:])
        return Gain(
            ours=float(mine[0].mean()),
            theirs=float(other[0].mean()),
            gain=found.estimate,
            interval=None if reason else (found.low, found.high),
            no_interval=reason,
            seeds=tuple((mine[0] - other[0].mean()).tolist()),
        )
