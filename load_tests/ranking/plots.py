"""The results of the side-by-side run as a picture."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from ranker.files.whole import replacing

OURS = "watchnext"
BLUE, GRAY, LIGHT, RED = "tab:blue", "tab:gray", "lightgray", "tab:red"


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw throughput, latency, the outcomes under overload, and growth with the candidates."""
    size = next(iter(report["sizes"].values()))
    figure, axes = plt.subplots(2, 2, figsize=(13, 8.5), layout="constrained")
    _throughput(axes[0, 0], size["contenders"])
    _latency(axes[0, 1], size["contenders"])
    _overload(axes[1, 0], size["under_load"], report)
    _growth(axes[1, 1], report["growth"])
    for each in axes.flat:
        each.spines[["top", "right"]].set_visible(False)
    on = report["machine"]
    figure.suptitle(
        f"{report['candidates']} candidates, 6.1M multiplications each, on {on['cpu']}, {on['cores']} cores",
        fontsize=11,
    )
    with replacing(path) as fresh:
        figure.savefig(fresh, dpi=130, format="png")
    plt.close(figure)


def growth_line(candidates: list[int], values: list[float]) -> tuple[float, float, float]:
    """Fit a straight line to values: slope, intercept, and R²."""
    slope, intercept = np.polyfit(candidates, values, 1)
    rest = np.array(values) - (slope * np.array(candidates) + intercept)
    return float(slope), float(intercept), float(1 - rest.var() / max(np.var(values), 1e-12))


def _throughput(axes: Axes, contenders: dict[str, Any]) -> None:
    labels, found = list(contenders)[::-1], list(contenders.values())[::-1]
    speeds = [each["requests_per_s"] for each in found]
    reach = [
        [each["requests_per_s"] - each["least"] for each in found],
        [each["most"] - each["requests_per_s"] for each in found],
    ]
    bars = axes.barh(labels, speeds, xerr=reach, color=_colours(labels), capsize=3)
    axes.bar_label(bars, [f"{speed:.0f}" for speed in speeds], padding=6)
    axes.set_xlim(0, 1.15 * max(each["most"] for each in found))
    axes.set_title("requests answered a second, 4 connections", fontsize=10, loc="left")


def _latency(axes: Axes, contenders: dict[str, Any]) -> None:
    """Draw each service's latencies of its last round: boxes from 25 % to 75 %, whiskers from 1 % to 99 %."""
    labels = list(contenders)[::-1]
    boxes = []
    for label in labels:
        at = contenders[label]["rounds"][-1]["quantiles_ms"]
        boxes.append({"whislo": at["1"], "q1": at["25"], "med": at["50"], "q3": at["75"], "whishi": at["99"]})
    drawn = axes.bxp(boxes, vert=False, showfliers=False, patch_artist=True, widths=0.55)
    for box, colour in zip(drawn["boxes"], _colours(labels), strict=True):
        box.set_facecolor(colour)
    for line in drawn["medians"]:
        line.set_color("black")
    for row, box in enumerate(boxes, start=1):
        text = f"{box['med']:.0f} / {box['whishi']:.0f}"
        axes.annotate(text, (box["whishi"], row), (6, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticklabels(labels)
    axes.set_xlim(0, 1.2 * max(box["whishi"] for box in boxes))
    axes.set_title("latency in ms, 4 connections: median / 99 %", fontsize=10, loc="left")


def _overload(axes: Axes, loads: dict[str, Any], report: dict[str, Any]) -> None:
    labels = list(loads)[::-1]
    left = np.zeros(len(labels))
    for name, what, colour in (
        ("requests_per_s", f"answered within {report['timeout_ms']} ms", BLUE),
        ("rejected_per_s", "503", LIGHT),
        ("late_per_s", "no answer in time", RED),
        ("failed_per_s", "connection refused or lost", "black"),
    ):
        share = np.array(
            [_share(loads[label]["overload"], name, loads[label]["most_per_s"]) for label in labels]
        )
        axes.barh(labels, share, left=left, color=colour, label=what)
        left += share
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    axes.set_title(
        f"{report['overload_times']} times too many requests: what becomes of them, in maxima (dotted: 1)",
        fontsize=10,
        loc="left",
    )
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=4, frameon=False)


def _growth(axes: Axes, growth: list[dict[str, Any]]) -> None:
    candidates = [each["candidates"] for each in growth]
    p50_ms = [each["p50_ms"] for each in growth]
    slope, intercept, fit = growth_line(candidates, p50_ms)
    ends = np.array([0, candidates[-1]])
    axes.plot(ends, slope * ends + intercept, color=GRAY, linewidth=1)
    axes.plot(candidates, p50_ms, "o", color=BLUE)
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.set_xlabel("candidates")
    axes.set_ylabel("p50 in ms, one request at a time", color=BLUE)
    memory = axes.twinx()
    memory.plot(candidates, [each["memory_mb"] for each in growth], "s", color="tab:orange", markersize=4)
    memory.set_ylim(0, 1.3 * max(each["memory_mb"] for each in growth))
    memory.set_ylabel("memory in MB", color="tab:orange")
    memory.spines["top"].set_visible(False)
    axes.set_title(
        f"{OURS}: {intercept:.1f} ms and {slope * 1e3:.1f} µs a candidate (R² {fit:.3f})",
        fontsize=10,
        loc="left",
    )


def _share(found: dict[str, float], name: str, max_per_s: float) -> float:
    return found[name] / max(max_per_s, 1e-9)


def _colours(labels: list[str]) -> list[str]:
    return [BLUE if label == OURS else GRAY for label in labels]
