"""What a run shows while it goes: a live table, TensorBoard events, and the metrics as Parquet."""

import contextlib
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

from ranker.files.whole import naming, replacing
from training.trainer import Trainer

METRICS_FILE = "metrics.parquet"
REFRESH_S = 0.5
"""Seconds between two updates of the live table."""
NOT_PLOTTED = {"window_start_ms", "window_end_ms", "head", "rows", "positives"}


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
        self._written = trainer.metrics.closed
        with naming(folder):
            self._writer = SummaryWriter(str(folder), purge_step=self._written)
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
        with contextlib.suppress(OSError) if error else naming(self._folder):
            self._writer.close()

    def update(self) -> None:
        """Show how far the trainer has come."""
        if self._live:
            now = time.monotonic()
            self._live.update(Group(self._headline(now), metrics_table(self._trainer)), refresh=True)

    def write(self) -> None:
        """Write the finished windows: the new ones for TensorBoard, those that are kept as Parquet.

        Raises:
            FileError: They cannot be written.
        """
        with naming(self._folder):
            self._write_events()
        write_table(self._folder / METRICS_FILE, self._trainer.metrics.rows(with_open=True))

    def _write_events(self) -> None:
        metrics = self._trainer.metrics
        heads = len(metrics.heads)
        fresh = metrics.rows(since=self._written).to_pylist()
        first = metrics.closed - len(fresh) // heads
        for index, row in enumerate(fresh):
            for name in row.keys() - NOT_PLOTTED:
                if row[name] is not None:
                    self._writer.add_scalar(
                        f"{name}/{row['head']}",
                        row[name],
                        first + index // heads,
                        row["window_end_ms"] / 1000,
                    )
        self._writer.flush()
        self._written = metrics.closed

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
    remarks = [*(task.remark for task in trainer.spec.tasks), *implausible_lines(trainer)]
    table.caption = "; ".join(dict.fromkeys(remark for remark in remarks if remark)) or None
    newest = {row["head"]: row for row in trainer.metrics.rows(with_open=True).to_pylist()}
    for task in trainer.spec.tasks:
        total = trainer.metrics.total()[task.name]
        window, loss = newest.get(task.name, {}), total[task.loss_metric]
        table.add_row(
            task.name,
            number(window.get("auc")),
            number(total.get("auc")),
            "" if loss is None else task.loss_text(loss),
            number(total["calibration"], digits=2),
            "" if total.get("positives") is None else f"{total['positives']:,}",
        )
    return table


def implausible_lines(trainer: Trainer) -> list[str]:
    """Labels and weights that were beyond what is plausible: a line a column."""
    return [
        f"{name}: {found.rows:,} beyond {found.plausible[0]:.4g} to {found.plausible[1]:.4g}, the furthest "
        f"{found.furthest:.4g}, learned as the bound"
        for name, found in trainer.plausibility.found().items()
    ]


def number(value: float | None, *, digits: int = 4) -> str:
    """A figure for a table; empty if there is none."""
    return "" if value is None else f"{value:.{digits}f}"


def write_table(path: Path, table: pa.Table) -> None:
    """Write Parquet whole or not at all.

    Raises:
        FileError: It cannot be written.
    """
    with replacing(path) as fresh:
        pq.write_table(table, fresh)
