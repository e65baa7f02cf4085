"""What the columns of features hold now, beside what they held when the network learned.

For each column there is a histogram of its values for every hour of the day, as many columns follow the hour:
the newest rows are compared with the same hour of earlier days. What share is missing is compared with all
hours before.

Shape letters: R rows, W words of a record, C columns, B bins.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranker.features.kinds.column import Form
from ranker.features.record import MISSING_KEY, MISSING_LIST, Part, RecordLayout, Words
from ranker.metrics.population_stability import stability_index
from ranker.store.reports import Alarm
from training.gate.window import WindowRows
from training.trainer import StepResult

Counts = NDArray[np.float64]

BINS: Final = 16
"""Of values; one more counts what is missing."""
HOURS: Final = 24
HOUR_MS: Final = 3_600_000
KEPT: Final = 0.5
"""Share of an hour's histogram that stays when the same hour of another day is added."""
MIN_EDGE_ROWS: Final = 200
"""Numbers have bins once so many values are known."""
MIN_ROWS: Final = 500
"""Fewer rows are not compared, nor compared with."""
MIN_VIEWERS: Final = 100
MAX_PSI: Final = 0.5
MAX_MISSING: Final = 0.2
"""How much larger the share of missing values may be than it was."""
SILENT_ROWS: Final = 200
"""A column that is missing in so many of the newest rows has gone silent."""
SELDOM: Final = 0.9
"""A column that was missing in a larger share before cannot go silent."""


class ColumnHistograms:
    """Histograms of all columns by the hour of the day; a `StepListener`.

    Args:
        records: Where columns stand in the words of a row.
    """

    def __init__(self, records: RecordLayout) -> None:
        self.parts = records.parts
        self._closed = np.zeros((HOURS, len(self.parts), BINS + 1))
        self._open = np.zeros((len(self.parts), BINS + 1))
        self._hour = -1  # since 1970
        self._edges = np.full((len(self.parts), BINS - 1), np.nan)

    def after_step(self, records: pa.RecordBatch, result: StepResult) -> None:
        """Take in a batch; see `StepListener`."""
        times: NDArray[np.int64] = records.column("time_ms").to_numpy()
        words = result.examples.words
        self._find_edges(words)
        hours = np.maximum(times // HOUR_MS, self._hour)
        for hour in np.unique(hours).tolist():
            if hour != self._hour:
                self._close()
                self._hour = hour
            self._open += self.of(words[hours == hour])

    def of(self, words: Words) -> Counts:
        """(C, B + 1) the histograms of some rows, the missing values last."""
        return np.stack([self._histogram(part, index, words) for index, part in enumerate(self.parts)])

    def at_hour(self, time_ms: int) -> Counts:
        """(C, B + 1) the histograms of the same hour of earlier days."""
        counts: Counts = self._closed[time_ms // HOUR_MS % HOURS]
        return counts

    def before(self) -> Counts:
        """(C, B + 1) the histograms of all hours before the present one."""
        counts: Counts = self._closed.sum(axis=0)
        return counts

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """See `StepListener`."""
        return {
            "closed": self._closed.copy(),
            "open": self._open.copy(),
            "hour": np.array([self._hour], np.int64),
            "edges": self._edges.copy(),
        }

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """See `StepListener`."""
        if state and state["closed"].shape == self._closed.shape:
            self._closed, self._open = state["closed"].copy(), state["open"].copy()
            self._edges, self._hour = state["edges"].copy(), int(state["hour"][0])

    def _close(self) -> None:
        if self._hour >= 0:
            hour = self._hour % HOURS
            self._closed[hour] = KEPT * self._closed[hour] + self._open
        self._open = np.zeros_like(self._open)

    def _find_edges(self, words: Words) -> None:
        """Let the first values of a number decide its bins: as many in each."""
        for index, part in enumerate(self.parts):
            if part.form is Form.NUMBER and np.isnan(self._edges[index, 0]):
                values = _numbers(words, part)
                values = values[~np.isnan(values)]
                if len(values) >= MIN_EDGE_ROWS:
                    self._edges[index] = np.quantile(values, np.arange(1, BINS) / BINS)

    def _histogram(self, part: Part, index: int, words: Words) -> Counts:
        if part.form is Form.NUMBER:
            values = _numbers(words, part)
            bins = np.searchsorted(self._edges[index], values, side="right").clip(0, BINS - 1)
            if np.isnan(self._edges[index, 0]):
                bins[:] = 0
        elif part.form is Form.BAG:
            bins = np.minimum(words[:, part.first], BINS - 1).astype(np.int64)
        else:
            bins = (words[:, part.first] % np.uint64(BINS)).astype(np.int64)
        bins = np.where(_missing(words, part), BINS, bins)
        return np.bincount(bins, minlength=BINS + 1).astype(np.float64)


def column_figures(
    histograms: ColumnHistograms, rows: WindowRows
) -> tuple[dict[str, dict[str, float | None]], list[Alarm]]:
    """What the newest rows hold, beside what was learned; and what is not as it was.

    Args:
        histograms: Of all rows.
        rows: The newest ones.
    """
    before, figures, alarms = histograms.before(), {}, []
    now_ms = int(rows.times[-1])
    hour = rows.later_than(now_ms // HOUR_MS * HOUR_MS - 1)
    found, at_hour = histograms.of(hour.words), histograms.at_hour(now_ms)
    many = len(hour) >= MIN_ROWS and len(np.unique(hour.viewers)) >= MIN_VIEWERS
    for index, part in enumerate(histograms.parts):
        counts = found[index]
        total = before[index].sum()
        missing = float(counts[-1] / max(counts.sum(), 1))
        usual = float(before[index][-1] / total) if total >= MIN_ROWS else None
        psi = None
        if many and min(at_hour[index][:-1].sum(), counts[:-1].sum()) >= MIN_ROWS:
            psi = stability_index(at_hour[index][:-1], counts[:-1])
        figures[part.column] = {"missing": missing, "missing_before": usual, "psi": psi}
        newest = rows.words[-SILENT_ROWS:]
        if usual is not None:
            silent = len(newest) == SILENT_ROWS and bool(_missing(newest, part).all())
            alarms += _missing_alarms(part.column, usual, missing if many else None, silent=silent)
        if psi is not None and psi > MAX_PSI:
            alarms.append(
                Alarm(
                    kind="distribution",
                    about=part.column,
                    expected=f"a stability index (PSI) of at most {MAX_PSI:g} to this hour of earlier days",
                    found=f"{psi:.3g} in {len(hour):,} rows",
                )
            )
    return figures, alarms


def _missing_alarms(column: str, usual: float, missing: float | None, *, silent: bool) -> list[Alarm]:
    if silent and usual < SELDOM:
        return [
            Alarm(
                kind="silent column",
                about=column,
                expected=f"values in {1 - usual:.0%} of the rows, as before",
                found=f"none in the newest {SILENT_ROWS} rows",
            )
        ]
    if missing is not None and missing > usual + MAX_MISSING:
        return [
            Alarm(
                kind="missing",
                about=column,
                expected=f"at most {usual + MAX_MISSING:.0%} of the values to be missing",
                found=f"{missing:.0%}",
            )
        ]
    return []


def _numbers(words: Words, part: Part) -> NDArray[np.float64]:
    return np.ascontiguousarray(words[:, part.first]).view(np.float64)


def _missing(words: Words, part: Part) -> NDArray[np.bool_]:
    if part.form is Form.NUMBER:
        return np.isnan(_numbers(words, part))
    found: NDArray[np.bool_] = words[:, part.first] == (
        MISSING_LIST if part.form is Form.BAG else MISSING_KEY
    )
    return found
