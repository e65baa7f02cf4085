"""What a run shows while it goes: a table or log lines, TensorBoard events, and the metrics as Parquet."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from rich import box
from rich.console import Console
from rich.table import Table
from torch.utils.tensorboard import SummaryWriter

from ranker.files.whole import naming, replacing
from ranker.metrics.intervals import auc_margin
from training.progress import Display, Pace, Span
from training.trainer import Trainer

METRICS_FILE = "metrics.parquet"
FEW_ROWS = 1_000
"""A calibration of fewer rows is shown with their number."""
NOT_PLOTTED = {"window_start_ms", "window_end_ms", "head", "rows", "positives"}


class Report:
    """The display and the files of one run; a context manager.

    Args:
        folder: Where metrics.parquet and TensorBoard's events go; a window's number is TensorBoard's step.
        trainer: The run's trainer, whose metrics are shown; its finished windows are not written again.
        console: Where to print.
        live: Whether to show the table while training, if the console is a terminal. Elsewhere a line goes to
            the log every few seconds.
        span: Gives the event times to go through; None as long as they are not known.
    """

    def __init__(
        self,
        folder: Path,
        trainer: Trainer,
        console: Console,
        *,
        live: bool,
        span: Callable[[], Span | None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._trainer = trainer
        self._written = trainer.metrics.closed
        with naming(folder):
            self._writer = SummaryWriter(str(folder), purge_step=self._written)
        self._display = Display(console, live=live)
        self._started, self._start_rows = time.monotonic(), trainer.rows
        self._pace = Pace(span, self._started)

    def __enter__(self) -> Self:
        self._display.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.__exit__(kind, error, trace)
        with contextlib.suppress(OSError) if error else naming(self._folder):
            self._writer.close()

    def update(self) -> None:
        """Show how far the trainer has come, if that was not shown just now."""
        self._display.update(self._headline, lambda: metrics_table(self._trainer))

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

    def _headline(self, now: float) -> str:
        rows = self._trainer.rows
        rate = (rows - self._start_rows) / max(now - self._started, 1e-9)
        watermark = self._trainer.watermark_ms
        reached = (
            "" if watermark is None else f"{datetime.fromtimestamp(watermark / 1000, UTC):%Y-%m-%d %H:%M} UTC"
        )
        parts = [f"event time {reached}", f"{rows:,} rows", f"{rate:,.0f} rows/s"]
        if waiting := len(self._trainer.waiting):
            parts.append(f"{waiting:,} wait for labels")
        return "   ".join([*parts, self._pace.remaining(watermark, now)]).rstrip()


def metrics_table(trainer: Trainer) -> Table:
    """Progressive metrics per head: of the newest window and of the whole run.

    A figure of few rows says how sure it is, or of how many rows it is.
    """
    table = Table(
        title="Progressive validation: every row predicted before it was learned",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        collapse_padding=True,
    )
    table.add_column("head")
    for name in ("AUC, newest", "AUC,\nwhole run", "log loss\nor RMSE", "calibration", "positives"):
        table.add_column(name, justify="right", no_wrap=True)
    newest = {row["head"]: row for row in trainer.metrics.rows(with_open=True).to_pylist()}
    remarks = [task.remark for task in trainer.spec.tasks if task.remark] + implausible_lines(trainer)
    remarks += untrained_lines(trainer)
    table.caption = "; ".join(dict.fromkeys([*_newest_window(newest.values()), *remarks])) or None
    for task in trainer.spec.tasks:
        total = trainer.metrics.total()[task.name]
        loss = total[task.loss_metric]
        table.add_row(
            task.name,
            _newest_auc(newest.get(task.name, {})),
            number(total.get("auc")),
            "" if loss is None else task.loss_text(loss),
            calibration_text(total["calibration"], total["rows"]),
            "" if total.get("positives") is None else f"{total['positives']:,}",
        )
    return table


def untrained_lines(trainer: Trainer) -> list[str]:
    """Heads that have learned nothing though rows were read: a line a head."""
    return [
        f"{task.name}: nothing was learned, as no label has come"
        + (f" of which the label_wait of {task.label_wait:g} s was over" if task.label_wait else "")
        for task, trained in zip(trainer.spec.tasks, trainer.trained, strict=True)
        if trainer.rows and not trained
    ]


def implausible_lines(trainer: Trainer) -> list[str]:
    """Labels and weights that were beyond what is plausible: a line a column."""
    return [
        f"{name}: {found.rows:,} beyond {found.plausible[0]:.4g} to {found.plausible[1]:.4g}, the furthest "
        f"{found.furthest:.4g}, learned as the bound"
        for name, found in trainer.plausibility.found().items()
    ]


def calibration_text(calibration: float | None, rows: float | None) -> str:
    """Mean prediction over mean label; of few rows, or of a head's first ones, it says of how many."""
    if calibration is None or not rows:
        return ""
    return number(calibration, digits=2) + (f"\nof {rows:,} rows" if rows < FEW_ROWS else "")


def _newest_auc(window: Mapping[str, Any]) -> str:
    auc, positives = window.get("auc"), window.get("positives")
    if auc is None or positives is None:
        return ""
    return f"{auc:.4f} ±{auc_margin(auc, positives, window['rows'] - positives):.3f}"


def _newest_window(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the newest figures are of."""
    windows = list(rows)
    if not windows:
        return []
    most = max(row["rows"] for row in windows)
    began = datetime.fromtimestamp(windows[0]["window_start_ms"] / 1000, UTC)
    return [f"newest: {most:,} rows from {began:%Y-%m-%d %H:%M} UTC on, with a 95 % interval"]


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
