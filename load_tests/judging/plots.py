"""The gains and what each kind of feature brings, as pictures."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from load_tests.judging.comparison import ALL_DAYS, MODES
from load_tests.judging.contenders import TREES
from load_tests.judging.one_pass import LIVE

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

COLOURS = ("tab:gray", "tab:blue", "tab:green")


def draw(report: dict[str, Any], folder: Path) -> None:
    """Draw both into `quality_gains.png` and `quality_ablation.png`."""
    _gains(report, folder / "quality_gains.png")
    _ablation(report, folder / "quality_ablation.png")


def _gains(report: dict[str, Any], path: Path) -> None:
    heads = report["heads"]
    figure, axes = plt.subplots(figsize=(9, 0.62 * len(heads) + 1.6), layout="constrained")
    for place, (mode, colour) in enumerate(zip(MODES, COLOURS, strict=True)):
        gains = [found["against trees"][mode][ALL_DAYS] for found in heads.values()]
        _points(axes, gains, np.arange(len(heads)) + 0.22 * (place - 1), colour, mode)
    _finish(axes, [_title(head, found) for head, found in heads.items()])
    axes.set_xlabel(f"AUC minus {TREES}'s, 95 % interval over viewers")
    axes.set_title(
        f"{report['spec']}: one network against {TREES}, mean of {len(report['days'])} day(s) and "
        f"{len(report['seeds'])} seed(s)",
        fontsize=10,
        loc="left",
    )
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _ablation(report: dict[str, Any], path: Path) -> None:
    heads = {
        head: found for head, found in report["heads"].items() if sum(found["positives"].values()) >= 100
    }
    names = report["ablation"]
    columns = min(4, len(heads))
    rows = -(-len(heads) // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(3.1 * columns, 2.3 * rows + 0.5),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for axes, (head, found) in zip(grid.flat, heads.items(), strict=False):
        gains = [found["against"][name][LIVE] for name in names]
        values = np.array([gain["gain"] for gain in gains])
        bounds = np.array([gain["interval"] for gain in gains])
        axes.barh(
            [name.removeprefix("without ") for name in names],
            values,
            xerr=np.abs(bounds.T - values),
            color="tab:blue",
            ecolor="black",
            capsize=2,
        )
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(_title(head, found), fontsize=9, loc="left")
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(heads) :]:
        axes.set_visible(False)
    grid[0, 0].invert_yaxis()
    figure.suptitle("AUC lost without a kind of feature, live, 95 % interval over viewers", fontsize=10)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _points(axes: Axes, gains: list[dict[str, Any]], places: Any, colour: str, label: str) -> None:
    values = np.array([gain["gain"] for gain in gains])
    bounds = np.array([gain["interval"] for gain in gains])
    axes.errorbar(
        values,
        places,
        xerr=np.abs(bounds.T - values),
        fmt="o",
        color=colour,
        capsize=3,
        markersize=5,
        label=label,
    )


def _finish(axes: Axes, labels: list[str]) -> None:
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)


def _title(head: str, found: dict[str, Any]) -> str:
    return f"{head} ({sum(found['positives'].values()):,})"
