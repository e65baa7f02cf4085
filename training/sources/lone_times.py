"""Rows of a wrong clock among the newest of a log: a few that are far after all others.

Training and the feature state go on from the newest time that they have seen, so that a single row a year
ahead makes the days that follow look learned. Where the log is old, such a row is not in the future.

Shape letter: R rows of a part.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranker.event_times import time_text
from ranker.events import TIME_MS

GAP_MS: Final = 30 * 86_400_000
"""A gap in the log that is longer is looked at."""
MOST_ROWS: Final = 1_000
"""After a longer gap, more rows than so many are taken for a log that was taken up again."""
MOST_SHARE: Final = 0.01
"""So is a larger share of the log's rows."""


@dataclass(frozen=True)
class Part:
    """A part of a log, such as a row group.

    Attributes:
        last_ms: No row is later.
        rows: R.
        times: Reads the (R,) times, in milliseconds.
    """

    last_ms: int
    rows: int
    times: Callable[[], NDArray[np.int64]]


class LoneRows(NamedTuple):
    """Rows that are far after all others.

    Attributes:
        rows: How many, at most a hundredth of the log.
        first_ms: The time of the first.
        before_ms: The latest time of the others.
    """

    rows: int
    first_ms: int
    before_ms: int

    @property
    def mistake(self) -> str:
        """What was expected and what was found."""
        days, found = GAP_MS // 86_400_000, f"{self.first_ms} ({time_text(self.first_ms)})"
        return (
            f"expected '{TIME_MS}' within {days} days of all others, of which the latest is "
            f"{time_text(self.before_ms)}, found {found} in the first of {self.rows} such rows: a clock was "
            "probably wrong; if it was not, --plausible-until with a later time takes them"
        )


def lone_rows(parts: Iterable[Part]) -> LoneRows | None:
    """Find the newest rows of a log if they are few and far after all others; None if they are not.

    Only the newest parts are read, unless there is a gap that the others may fill.

    Args:
        parts: The log, in any order.
    """
    newest_first = sorted(parts, key=lambda part: part.last_ms, reverse=True)
    most = min(MOST_ROWS, int(MOST_SHARE * sum(part.rows for part in newest_first)))
    newest = np.empty(0, np.int64)
    for part in newest_first:
        gap = _last_gap(newest)
        if gap is not None and part.last_ms <= newest[gap]:
            break
        if gap is None and len(newest) > most:
            return None
        newest = np.sort(np.concatenate([newest, part.times()]))[-(most + 1) :]
    gap = _last_gap(newest)
    if gap is None:
        return None
    return LoneRows(len(newest) - gap - 1, int(newest[gap + 1]), int(newest[gap]))


def _last_gap(times: NDArray[np.int64]) -> int | None:
    """The index of the time before the last long gap in sorted times; None if there is none."""
    gaps = np.flatnonzero(np.diff(times) > GAP_MS)
    return int(gaps[-1]) if len(gaps) else None
