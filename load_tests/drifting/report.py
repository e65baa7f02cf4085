"""Means of what was satisfying, with intervals over viewers, as numbers and as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from load_tests.drifting.arms import ARMS, FOLLOWING, FROZEN, Row
from ranker.files.whole import replacing
from training.sources.simulated.population import DAY_MS

mpl.use("Agg")
from matplotlib import pyplot as plt

Floats = NDArray[np.float64]
MEASURES: Final = {
    "stars": "expected rating of what is looked at, stars",
    "likes": "expected likes of a page",
}
COLOURS: Final = ("#0072b2", "#56b4e9", "#d55e00", "#777777")
Z: Final = 1.96


def mean_over_viewers(values: Floats, viewer: NDArray[np.int64]) -> tuple[float, float]:
    """The mean of pages, and half of its 95 % interval, as viewers are drawn and not pages.

    Args:
        values: (N,) one a page.
        viewer: (N,) who looked at it.
    """
    mean = float(values.mean())
    _, index = np.unique(viewer, return_inverse=True)
    sums = np.bincount(index, weights=values - mean)
    return mean, float(Z * np.sqrt((sums**2).sum()) / len(values))


def summary(rows: Sequence[Row], began_ms: int) -> dict[str, Any]:
    """Each whole day's means of every arm, and the differences to the following one in the last third.

    Args:
        rows: Of all arms.
        began_ms: When the log at rest ended, in the world's time.
    """
    day = np.array([(row.world_ms - began_ms) / DAY_MS for row in rows])
    arm = np.array([row.arm for row in rows])
    viewer = np.array([row.viewer for row in rows])
    whole_days = round(day.max())
    found: dict[str, Any] = {"pages": int((arm == FOLLOWING).sum()), "days": {}, "last_third": {}}
    for measure in MEASURES:
        values = np.array([getattr(row, measure) for row in rows])
        found["days"][measure] = {
            name: [
                mean_over_viewers(values[chosen], viewer[chosen])
                for number in range(whole_days)
                if (chosen := (arm == name) & (day >= number) & (day < number + 1)).any()
            ]
            for name in ARMS
        }
        late = day >= day.max() * 2 / 3
        followed = values[late & (arm == FOLLOWING)], viewer[late & (arm == FOLLOWING)]
        found["last_third"][measure] = {
            name: {
                "mean": mean_over_viewers(values[late & (arm == name)], viewer[late & (arm == name)]),
                "following minus this": mean_over_viewers(
                    followed[0] - values[late & (arm == name)], followed[1]
                ),
            }
            for name in ARMS
        }
    return found


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw the days' means with their intervals."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axes, (measure, label) in zip(panels, MEASURES.items(), strict=True):
        for name, colour in zip(ARMS, COLOURS, strict=True):
            means = np.array(found["days"][measure][name])
            at = np.arange(len(means)) + 0.5
            axes.plot(at, means[:, 0], color=colour, label=name, linestyle="--" if name == FROZEN else "-")
            low, high = means[:, 0] - means[:, 1], means[:, 0] + means[:, 1]
            axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_xlabel("days since the log that all have learned, a minute each", fontsize=9)
        axes.set_ylabel(label, fontsize=9)
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=9, loc="outside lower center", ncols=4)
    figure.suptitle(
        "What was truly satisfying among what was shown, while tastes drift "
        f"({found['pages']:,} pages an arm; 95 % intervals over viewers)",
        fontsize=10,
    )
    with replacing(path) as fresh:
        figure.savefig(fresh, dpi=130, format="png")
    plt.close(figure)
