"""How far a pass over a source has come, and when it will be done.

On a terminal it is a line that changes. Elsewhere, in a pipe or under nohup, it is a line in the log every
few seconds, on standard error as the rest of the log.
"""

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, NamedTuple, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from training.sources.base import Source

logger = logging.getLogger(__name__)

LOG_S: Final = 5.0
"""Seconds between two lines in the log."""
REFRESH_S: Final = 0.5
"""Seconds between two changes of the line on a terminal."""


class Span(NamedTuple):
    """The event times that a pass begins and ends at, Unix epoch in milliseconds."""

    first_ms: int
    last_ms: int


def event_span(source: Source, since_ms: int | None, until_ms: int | None) -> Span | None:
    """The part of a source's event times within bounds; None while the source does not know its own.

    Args:
        source: A log.
        since_ms: First event time; None for no bound.
        until_ms: First event time that is left out; None for no bound.
    """
    known = source.time_range()
    if known is None:
        return None
    first_ms = known[0] if since_ms is None else max(known[0], since_ms)
    return Span(first_ms, known[1] if until_ms is None else min(known[1], until_ms))


class Pace:
    """Tells the share that is done, and the time that the rest takes at the speed so far.

    Args:
        span: Gives what is to be gone through; None as long as that is not known.
        now: `time.monotonic()` at the beginning.
    """

    def __init__(self, span: Callable[[], Span | None], now: float) -> None:
        self._span = span
        self._began = now
        self._began_at: float | None = None

    def remaining(self, reached_ms: int | None, now: float) -> str:
        """For example `37 %, 1:05 left`; empty while it is not known.

        Args:
            reached_ms: The event time that is reached; None before the first row.
            now: `time.monotonic()`.
        """
        span = self._span()
        if span is None or reached_ms is None or span.last_ms <= span.first_ms:
            return ""
        done = min(max((reached_ms - span.first_ms) / (span.last_ms - span.first_ms), 0.0), 1.0)
        if self._began_at is None:  # a run that is resumed does not begin at 0
            self._began, self._began_at = now, done
        gone = done - self._began_at
        if gone <= 0:
            return f"{100 * done:.0f} %"
        left_s = (now - self._began) * (1 - done) / gone
        return f"{100 * done:.0f} %, {duration(left_s)} left"


class Display:
    """Shows how far something has come, if that was not said just now; a context manager.

    Args:
        console: Where to show it, if that is a terminal; it changes in its place.
        live: Whether to show it there. Elsewhere a line goes to the log every few seconds.
    """

    def __init__(self, console: Console, *, live: bool = True) -> None:
        shows = live and console.is_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True) if shows else None
        self._said = float("-inf") if shows else time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self, line: Callable[[float], str], below: Callable[[], RenderableType] = str) -> None:
        """Show a line.

        Args:
            line: Gives the line at a time, `time.monotonic()`.
            below: Gives what is shown below it on a terminal.
        """
        now = time.monotonic()
        if now - self._said < (REFRESH_S if self._live else LOG_S):
            return
        self._said = now
        if self._live:
            headline = Text(line(now), style="bold")
            self._live.update(Group(headline, below()), refresh=True)
        else:
            logger.info("%s", line(now))


class Progress:
    """Shows a pass over rows; a context manager.

    Args:
        console: Where to show it, if that is a terminal.
        what: What the rows are, such as `users`.
        span: Gives the event times to go through; None for rows without an end that is known.
    """

    def __init__(self, console: Console, what: str, span: Callable[[], Span | None] = lambda: None) -> None:
        self._what = what
        self._display = Display(console)
        self._began = time.monotonic()
        self._pace = Pace(span, self._began)

    def __enter__(self) -> Self:
        self._display.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.__exit__(kind, error, trace)

    def update(self, rows: int, reached_ms: int | None = None) -> None:
        """Say how far the pass has come, if it was not said just now.

        Args:
            rows: Rows that are done.
            reached_ms: Event time of the last of them.
        """

        def line(now: float) -> str:
            rate = rows / max(now - self._began, 1e-9)
            parts = [f"{rows:,} {self._what}", f"{rate:,.0f} a second", self._pace.remaining(reached_ms, now)]
            return "   ".join(part for part in parts if part)

        self._display.update(line)


def duration(seconds: float) -> str:
    """Minutes and seconds as `1:05`, with hours as `2:01:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
