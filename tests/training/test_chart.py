from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pytest
from matplotlib.axes import Axes

from ranker.metrics.binary_sums import BinarySums
from ranker.metrics.progressive import ProgressiveMetrics
from training.chart import MIN_POSITIVES, auc_chart

HOUR_MS = 3_600_000
START_MS = 1_767_225_600_000


def windows(**heads: list[tuple[float | None, int | None]]) -> pa.Table:
    """A table of windows, an hour each: AUC and positives of every head."""
    rows = [
        {
            "window_start_ms": START_MS + place * HOUR_MS,
            "window_end_ms": START_MS + (place + 1) * HOUR_MS,
            "head": head,
            "auc": auc,
            "positives": positives,
        }
        for head, figures in heads.items()
        for place, (auc, positives) in enumerate(figures)
    ]
    schema = ProgressiveMetrics(dict.fromkeys(heads, BinarySums), HOUR_MS).schema
    return pa.Table.from_pylist(rows, schema=schema)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """The AUCs of every line that is drawn."""
    lines: dict[str, list[float]] = {}
    plot = Axes.plot

    def watched(axes: Axes, *points: object, **style: object) -> object:
        lines[str(style["label"])] = list(points[1])  # type: ignore[call-overload]
        return plot(axes, *points, **style)  # type: ignore[arg-type]

    monkeypatch.setattr(Axes, "plot", watched)
    return lines


def test_every_binary_head_is_a_line_of_its_windows(tmp_path: Path, drawn: dict[str, list[float]]) -> None:
    table = windows(
        click=[(0.6, 500), (0.7, 400)], like=[(0.8, 30), (0.9, 31)], watch_time=[(None, None), (None, None)]
    )
    auc_chart(table, tmp_path / "auc.png", "title")

    assert drawn == {"click": [0.6, 0.7], "like": [0.8, 0.9]}
    image = plt.imread(tmp_path / "auc.png")
    assert image.shape[1] > 1000
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 10


def test_windows_with_few_positives_are_left_out(tmp_path: Path, drawn: dict[str, list[float]]) -> None:
    few, many = MIN_POSITIVES - 1, MIN_POSITIVES
    table = windows(click=[(0.6, many), (0.1, few), (0.7, many)], dismiss=[(1.0, few), (None, 0)])
    auc_chart(table, tmp_path / "auc.png", "title")
    assert drawn == {"click": [0.6, 0.7]}


def test_a_run_without_a_window_is_an_empty_chart(tmp_path: Path, drawn: dict[str, list[float]]) -> None:
    auc_chart(windows(), tmp_path / "auc.png", "title")
    assert drawn == {}
    assert (tmp_path / "auc.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_of_one_window_is_a_chart_of_one_point(tmp_path: Path, drawn: dict[str, list[float]]) -> None:
    auc_chart(windows(click=[(0.6, 500)]), tmp_path / "auc.png", "title")
    assert drawn == {"click": [0.6]}
