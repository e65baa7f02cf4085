"""Progressive validation over event time: how good the predictions were, window by window.

Every batch is predicted before it is learned from; these metrics gather the predictions. There is one set
of sums for the open window and one for all closed ones. Windows are aligned to multiples of their length
since 1970; one without rows leaves no trace.

Shape letters: B rows of a batch, T tasks, W closed windows, M metrics.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranker.errors import CheckpointError
from ranker.metrics.streaming import METRICS, Floats, Kind, StreamingMetrics

COUNTS = ("rows", "positives")
SCHEMA = pa.schema(
    [("window_start_ms", pa.int64()), ("window_end_ms", pa.int64()), ("head", pa.string())]
    + [(name, pa.int64() if name in COUNTS else pa.float64()) for name in METRICS]
)
"""Columns of `ProgressiveMetrics.rows`; null where a metric is undefined or not of the head's kind."""

_NONE_OPEN = -(2**63)


class ProgressiveMetrics:
    """Metrics per head and window of event time, and of everything so far.

    Args:
        kinds: Every head's kind, in the order of the predictions' columns.
        window_ms: Event time that one window covers, in milliseconds.
    """

    def __init__(self, kinds: Mapping[str, Kind], window_ms: int) -> None:
        self.heads = tuple(kinds)
        self.window_ms = window_ms
        self._kinds = dict(kinds)
        self._open = StreamingMetrics(kinds)
        self._closed = StreamingMetrics(kinds)
        self._open_window = _NONE_OPEN  # counted from 1970
        self._windows: list[int] = []
        self._results: list[Floats] = []  # (T, M) each

    def update(
        self,
        time_ms: NDArray[np.int64],
        predictions: NDArray[np.floating],
        labels: NDArray[np.floating],
    ) -> None:
        """Add a batch; a row of a later window closes the open one.

        Args:
            time_ms: (B,) event times. A row of a window that is closed already counts in the open one.
            predictions: (B, T) in natural units, made before the batch was learned from.
            labels: (B, T) in natural units, NaN where missing.
        """
        window_b = np.maximum(time_ms // self.window_ms, self._open_window)
        for window in np.unique(window_b).tolist():
            self._move_to(window)
            rows = window_b == window
            whole = bool(rows.all())
            self._open.update(*((predictions, labels) if whole else (predictions[rows], labels[rows])))

    def _move_to(self, window: int) -> None:
        if window == self._open_window:
            return
        if self._open_window != _NONE_OPEN:
            self._windows.append(self._open_window)
            self._results.append(self._open.result())
            self._closed.merge(self._open)
            self._open = StreamingMetrics(self._kinds)
        self._open_window = window

    def rows(self, *, with_open: bool = False) -> pa.Table:
        """The windows' metrics, a row per window and head, oldest first.

        Args:
            with_open: Add the open window as it stands.

        Returns:
            A table with the columns of `SCHEMA`.
        """
        windows, results = list(self._windows), list(self._results)
        if with_open and self._open_window != _NONE_OPEN:
            windows.append(self._open_window)
            results.append(self._open.result())
        metric_wtm = np.reshape(results, (len(windows), len(self.heads), len(METRICS)))
        start = np.repeat(np.array(windows, np.int64) * self.window_ms, len(self.heads))
        columns = [pa.array(start), pa.array(start + self.window_ms), pa.array(self.heads * len(windows))]
        columns += [pa.array(metric.ravel(), from_pandas=True) for metric in np.moveaxis(metric_wtm, 2, 0)]
        # from_pandas made every NaN a null
        return pa.table([c.cast(f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)

    def total(self) -> dict[str, dict[str, float | int | None]]:
        """Every head's metrics over all rows so far, None where undefined or not of its kind."""
        both = StreamingMetrics(self._kinds)
        both.merge(self._closed)
        both.merge(self._open)
        return {
            head: {
                name: None if np.isnan(value) else int(value) if name in COUNTS else value
                for name, value in zip(METRICS, values, strict=True)
            }
            for head, values in zip(self.heads, both.result().tolist(), strict=True)
        }

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything, as arrays for a checkpoint; `load_state` restores it bit by bit."""
        shape = (len(self._windows), len(self.heads), len(METRICS))
        return {
            "windows": np.array([self._open_window, *self._windows], np.int64),
            "results": np.reshape(np.array(self._results, np.float64), shape),
            **{f"open.{name}": array for name, array in self._open.state().items()},
            **{f"closed.{name}": array for name, array in self._closed.state().items()},
        }

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from what `state` gave.

        Raises:
            CheckpointError: It is of other heads.
        """
        missing = {"windows", "results"} - state.keys()
        if missing:
            raise CheckpointError(
                f"metric state: expected '{min(missing)}', found {', '.join(sorted(state))}"
            )
        for prefix, sums in (("open.", self._open), ("closed.", self._closed)):
            own = {n.removeprefix(prefix): array for n, array in state.items() if n.startswith(prefix)}
            sums.load_state(own)
        self._open_window, *self._windows = (int(window) for window in state["windows"])
        self._results = [result.astype(np.float64) for result in state["results"]]
