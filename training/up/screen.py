"""What `watchnext up` shows: a screen that changes in its place, or a line every few seconds in a pipe."""

import logging
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from training.progress import duration
from training.up.child import Child
from training.up.figures import Figures
from training.viewers.status import ViewerStatus

LINE_S: Final = 5.0
"""Seconds between two lines in a pipe."""
MESSAGES: Final = 6
"""The newest messages stay on the screen."""


class Screen(logging.Handler):
    """Shows figures and messages; a context manager, in which the messages of the log go to the screen.

    Args:
        console: Where to.
        url: Of the service.
        children: The processes.
    """

    def __init__(self, console: Console, url: str, children: Sequence[Child]) -> None:
        super().__init__(logging.INFO)
        self._console = console
        self._url = url
        self._children = children
        self._began = time.monotonic()
        self._said = self._began
        self._messages: deque[str] = deque(maxlen=MESSAGES)
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._others: list[logging.Handler] = []

    def __enter__(self) -> "Screen":
        root = logging.getLogger()
        self._others, root.handlers = root.handlers, [self]
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
        logging.getLogger().handlers = self._others

    def emit(self, record: logging.LogRecord) -> None:
        """Show a message."""
        message = f"{datetime.now():%H:%M:%S} {record.getMessage()}"
        self._messages.append(message)
        if self._live is None:
            self._console.print(message, markup=False, highlight=False, soft_wrap=True)

    def update(self, figures: Figures, viewers: ViewerStatus | None) -> None:
        """Show how the loop stands, on a terminal at once."""
        now = time.monotonic()
        if self._live:
            self._live.update(self._screen(figures, viewers, now), refresh=True)
        elif now - self._said >= LINE_S:
            self._said = now
            self._console.print(line(figures, viewers), markup=False, highlight=False, soft_wrap=True)

    def _screen(self, figures: Figures, viewers: ViewerStatus | None, now: float) -> RenderableType:
        head = Text.assemble(
            ("watchnext up", "bold"),
            f"   {self._url}/docs   {duration(now - self._began)}   Ctrl-C stops all",
        )
        loop = Table.grid(padding=(0, 2))
        for what, said in loop_rows(figures, viewers):
            loop.add_row(Text(what, style="dim"), said)
        children = Table.grid(padding=(0, 2))
        for child in self._children:
            state = Text(f"process {child.pid}") if child.pid else Text("is started again", style="yellow")
            again = f"started again: {child.restarts}" if child.restarts else ""
            children.add_row(Text(child.name, style="dim"), state, again, str(child.log))
        messages = Text("\n".join(self._messages), style="dim")
        return Group(
            head, Text(), loop, Text(), heads_table(figures.heads), Text(), children, Text(), messages
        )


def loop_rows(figures: Figures, viewers: ViewerStatus | None) -> list[tuple[str, str]]:
    """What is said of the loop, row by row."""
    rejected = sum(figures.rejected.values())
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in figures.rejected.items())
    rows = [
        ("rankings", f"{_number(figures.requests_per_s)} a second"),
        ("events", f"{_number(figures.events_per_s)} a second"),
        ("set aside", f"{rejected:,} events" + (f": {reasons}" if reasons else "")),
        ("log of events", f"{_number(figures.entries, 0)} entries"),
        ("trainer", f"{_number(figures.behind_s)} s behind, by its checkpoint"),
        ("published", _published(figures)),
        ("serving", figures.serving or "nothing: the service does not answer"),
    ]
    if viewers is not None:
        rows.append(("truly satisfying", _satisfying(viewers)))
    return rows


def heads_table(heads: Sequence[dict[str, Any]]) -> Table:
    """The heads' progressive metrics, a row each."""
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, title="the last minute, predicted before it was learned"
    )
    for name in ("head", "rows", "positives", "AUC", "log loss or RMSE", "calibration"):
        table.add_column(name, justify="left" if name == "head" else "right")
    for row in heads:
        loss = row.get("log_loss")
        table.add_row(
            row["head"],
            _number(row.get("rows"), 0),
            _number(row.get("positives"), 0),
            _number(row.get("auc"), 4),
            _number(row.get("rmse") if loss is None else loss, 4),
            _number(row.get("calibration"), 2),
        )
    return table


def line(figures: Figures, viewers: ViewerStatus | None) -> str:
    """Everything in one line."""
    aucs = " ".join(f"{row['head']} {row['auc']:.3f}" for row in figures.heads if row.get("auc") is not None)
    parts = [
        f"{_number(figures.requests_per_s)} rankings/s",
        f"{_number(figures.events_per_s)} events/s",
        f"trainer {_number(figures.behind_s)} s behind",
        f"{figures.published} published",
        f"serving {figures.serving or 'nothing'}",
        f"AUC {aucs or '-'}",
    ]
    if viewers is not None:
        parts.append(f"truly {_satisfying(viewers)}")
    return "   ".join(parts)


def _published(figures: Figures) -> str:
    if figures.newest is None:
        return "nothing yet"
    age_s = max(0.0, time.time() - figures.newest.created_ms / 1000)
    bundles = "1 bundle" if figures.published == 1 else f"{figures.published} bundles"
    return (
        f"{bundles} since the start; the one that ranks has {figures.newest.rows:,} rows, {age_s:.0f} s ago"
    )


def _satisfying(viewers: ViewerStatus) -> str:
    if viewers.shown is None or viewers.random is None:
        return "unknown"
    return f"{viewers.shown.stars:.2f} stars ({viewers.random.stars:.2f} in random order)"


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
