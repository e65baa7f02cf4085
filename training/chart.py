"""The chart of a run: AUC of every binary head over event time."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib.dates as mdates
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ranker.files.whole import replacing

MIN_POSITIVES = 30
"""Windows with fewer positives are not drawn, because their AUC is too noisy."""

LINE_HEIGHT = 0.04
"""Height of a line's name as a share of the chart's height."""


def auc_chart(windows: pa.Table, path: Path, title: str) -> None:
    """Draw progressive AUC over event time.

    Args:
        windows: The result of `ProgressiveMetrics.rows`.
        path: The PNG file to write.
        title: Title of the chart.

    Raises:
        FileError: The file cannot be written.
    """
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    axes = figure.subplots()
    rows = windows.to_pylist()
    ends: list[tuple[float, str, Any]] = []
    for head in dict.fromkeys(row["head"] for row in rows):
        points = [
            (_time(row["window_end_ms"]), row["auc"])
            for row in rows
            if row["head"] == head and row.get("auc") is not None and row["positives"] >= MIN_POSITIVES
        ]
        if points:
            (line,) = axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=head)
            ends.append((points[-1][1], head, line.get_color()))
    axes.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    axes.set_ylabel("AUC, predicted before learned")
    axes.set_xlabel("event time (UTC)")
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    locator = mdates.AutoDateLocator(maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    if rows:
        start, end = _time(rows[0]["window_start_ms"]), _time(rows[-1]["window_end_ms"])
        axes.set_xlim(start, end + (end - start) / 8)  # type: ignore[arg-type]  # room for the names
        _name_lines(axes, end, ends)
    with replacing(path) as fresh:
        figure.savefig(fresh, dpi=130, format="png")


def _name_lines(axes: Axes, end: datetime, ends: list[tuple[float, str, Any]]) -> None:
    """Write each line's name at its end, moved up where two names would overlap."""
    low, high = axes.get_ylim()
    free = low
    for height, head, colour in sorted(ends):
        free = max(height, free)
        axes.annotate(f" {head}", (end, free), color=colour, va="center", fontsize=9, annotation_clip=False)
        free += (high - low) * LINE_HEIGHT


def _time(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)
