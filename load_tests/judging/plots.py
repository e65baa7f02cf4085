"""Plots of the gains over the trees and of the ablation, with a panel per head."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from load_tests.judging.comparison import ALL_DAYS, MODES
from load_tests.judging.contenders import TREES
from load_tests.judging.one_pass import LIVE
from ranker.files.whole import replacing

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

COLUMNS = 4


def draw(report: Mapping[str, Any], folder: Path) -> None:
    """Draw `quality_gains.png` and `quality_ablation.png`."""
    heads = report["heads"]
    gains = {
        head: {mode: found["against trees"][mode][ALL_DAYS] for mode in MODES}
        for head, found in heads.items()
    }
    ablation = {
        head: {name.removeprefix("without "): found["against"][name][LIVE] for name in report["ablation"]}
        for head, found in heads.items()
    }
    days, seeds = len(report["days"]), len(report["seeds"])
    of = f"{days} day{'s' if days > 1 else ''}, {seeds} seed{'s' if seeds > 1 else ''}"
    for name, panels, title in (
        ("gains", gains, f"AUC of one network minus AUC of {TREES}, a model a head"),
        ("ablation", ablation, "AUC that a kind of feature brings, live"),
    ):
        _panels(heads, panels, f"{title} ({of}; 95 % interval over viewers)", folder / f"quality_{name}.png")


def _panels(
    heads: Mapping[str, Any], panels: Mapping[str, Mapping[str, Any]], title: str, path: Path
) -> None:
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    lines = len(next(iter(panels.values())))
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(3.2 * columns, (0.28 * lines + 0.9) * rows + 0.5),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for axes, (head, gains) in zip(grid.flat, panels.items(), strict=False):
        _panel(axes, gains)
        positives = sum(heads[head]["positives"].values())
        axes.set_title(f"{head} ({positives:,} positives)", fontsize=9, loc="left")
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    grid[0, 0].invert_yaxis()
    figure.suptitle(title, fontsize=11)
    with replacing(path) as fresh:
        figure.savefig(fresh, dpi=130, format="png")
    plt.close(figure)


def _panel(axes: Axes, gains: Mapping[str, Any]) -> None:
    """Draw a point per line, blue if its interval is above zero, red if it is below; some have none."""
    axes.axvline(0, color="black", linewidth=0.8)
    for index, gain in enumerate(gains.values()):
        low, high = gain["interval"] or (gain["gain"], gain["gain"])
        colour = "tab:gray"
        if gain["interval"] is not None and not low <= 0 <= high:
            colour = "tab:blue" if low > 0 else "tab:red"
        reach = np.abs([[low - gain["gain"]], [high - gain["gain"]]])
        axes.errorbar(gain["gain"], index, xerr=reach, fmt="o", color=colour, capsize=3, markersize=5)
    axes.set_yticks(range(len(gains)), list(gains))
    axes.set_ylim(-0.5, len(gains) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
