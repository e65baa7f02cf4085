"""What a run shows while it goes: a live table, TensorBoard events, and the metrics as Parquet."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from torch.utils.tensorboard import SummaryWriter

from training.trainer import Trainer

METRICS_FILE = "metrics.parquet"
REFRESH_S = 0.5
"""Seconds between two updates of the live table."""
PLOTTED = ("auc", "log_loss", "rmse", "calibration")


class Report:
    """The display and the files of one run; a context manager.

    Args:
        folder: Where metrics.parquet and TensorBoard's events go; a window's number is TensorBoard's step.
        trainer: The run's trainer, whose metrics are shown; its finished windows are not written again.
        console: Where to print.
        live: Whether to show the table while training.
    """

    def __init__(self, folder: Path, trainer: Trainer, console: Console, *, live: bool) -> None:
        self._folder = folder
        self._trainer = trainer
        self._written = trainer.metrics.rows().num_rows
        self._writer = SummaryWriter(str(folder), purge_step=self._written // len(trainer.spec.tasks))
        self._live = Live(console=console, auto_refresh=False, transient=True) if live else None
        self._started, self._start_rows = time.monotonic(), trainer.rows

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        self._writer.close()

    def update(self) -> None:
        """Show how far the trainer has come."""
        if self._live:
            now = time.monotonic()
            self._live.update(Group(self._headline(now), metrics_table(self._trainer)), refresh=True)

    def write(self) -> None:
        """Write the finished windows: TensorBoard's new ones, Parquet whole and in one step."""
        windows = self._trainer.metrics.rows(with_open=True)
        finished = self._trainer.metrics.rows()
        for place, row in enumerate(finished.slice(self._written).to_pylist(), self._written):
            window = place // len(self._trainer.spec.tasks)
            for name in PLOTTED:
                if row[name] is not None:
                    self._writer.add_scalar(
                        f"{name}/{row['head']}", row[name], window, row["window_end_ms"] / 1000
                    )
        self._writer.flush()
        self._written = finished.num_rows
        write_table(self._folder / METRICS_FILE, windows)

    def _headline(self, now: float) -> Text:
        rows = self._trainer.rows
        rate = (rows - self._start_rows) / max(now - self._started, 1e-9)
        watermark = self._trainer.watermark_ms
        reached = (
            "" if watermark is None else f"{datetime.fromtimestamp(watermark / 1000, UTC):%Y-%m-%d %H:%M} UTC"
        )
        return Text(f"event time {reached}   {rows:,} rows   {rate:,.0f} rows/s", style="bold")


def metrics_table(trainer: Trainer) -> Table:
    """Progressive metrics per head: of the newest window and of the whole run."""
    table = Table(title="Progressive validation: every row predicted before it was learned")
    table.add_column("head")
    for name in ("AUC,\nnewest", "AUC,\nwhole run", "log loss\nor RMSE", "calibration", "positives"):
        table.add_column(name, justify="right", no_wrap=True)
    if any(task.transform == "log1p" for task in trainer.spec.tasks):
        table.caption = "a log1p head predicts the typical value, not the mean: its calibration lies below 1"
    newest = {row["head"]: row for row in trainer.metrics.rows(with_open=True).to_pylist()}
    for task in trainer.spec.tasks:
        total = trainer.metrics.total()[task.name]
        window = newest.get(task.name, {})
        table.add_row(
            task.name,
            number(window.get("auc")),
            number(total["auc"]),
            number(total["rmse"], digits=2, unit=task.unit)
            if task.kind == "regression"
            else number(total["log_loss"]),
            number(total["calibration"], digits=2),
            "" if task.kind == "regression" else f"{total['positives']:,}",
        )
    return table


def number(value: float | None, *, digits: int = 4, unit: str | None = None) -> str:
    """A figure for a table; empty if there is none."""
    if value is None:
        return ""
    return f"{value:.{digits}f}" + (f" {unit}" if unit else "")


def write_table(path: Path, table: pa.Table) -> None:
    """Write Parquet beside the old file and rename it."""
    fresh = path.with_name(path.name + ".new")
    pq.write_table(table, fresh)
    os.replace(fresh, path)
