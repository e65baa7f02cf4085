"""Progressive validation over event time: how good the predictions were, window by window.

Every batch is predicted before it is learned from; these metrics gather the predictions. There is one set
of sums for the open window and one for all closed ones; of the closed windows the last `MAX_WINDOWS` are
kept, so a run without an end takes no more memory. Windows are aligned to multiples of their length since
1970; one without rows leaves no trace.

Shape letters: B rows of a batch, T tasks, W closed windows, M metrics.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranker.errors import CheckpointError
from ranker.metrics.streaming import Floats, MetricSums, StreamingMetrics

MAX_WINDOWS: Final = 1000
_NONE_OPEN: Final = -(2**63)


class ProgressiveMetrics:
    """Metrics per head and window of event time, and of everything so far.

    Args:
        heads: The class of every head's sums by the head's name, in the order of the predictions' columns.
        window_ms: Event time that one window covers, in milliseconds.

    Attributes:
        closed: Windows that were closed so far, also those that are no longer kept.
        schema: Of `rows`: the window, the head, and every metric; null where it is undefined or not of the
            head's kind.
    """

    def __init__(self, heads: Mapping[str, type[MetricSums]], window_ms: int) -> None:
        self.heads = tuple(heads)
        self.window_ms = window_ms
        self.closed = 0
        self._kinds = dict(heads)
        self._open = StreamingMetrics(heads)
        self._before = StreamingMetrics(heads)
        self._open_window = _NONE_OPEN  # counted from 1970
        self._windows: deque[int] = deque(maxlen=MAX_WINDOWS)
        self._results: deque[Floats] = deque(maxlen=MAX_WINDOWS)  # (T, M) each
        self.schema = pa.schema(
            [("window_start_ms", pa.int64()), ("window_end_ms", pa.int64()), ("head", pa.string())]
            + [
                (name, pa.int64() if name in self._open.counts else pa.float64())
                for name in self._open.metrics
            ]
        )

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
            self.closed += 1
            self._windows.append(self._open_window)
            self._results.append(self._open.result())
            self._before.merge(self._open)
            self._open = StreamingMetrics(self._kinds)
        self._open_window = window

    def rows(self, *, since: int = 0, with_open: bool = False) -> pa.Table:
        """The windows' metrics, a row per window and head, oldest first.

        Args:
            since: Leave out as many of the windows that were closed first.
            with_open: Add the open window as it stands.

        Returns:
            A table of `schema`; windows that are no longer kept are not in it.
        """
        first = max(since - (self.closed - len(self._windows)), 0)
        windows, results = list(self._windows)[first:], list(self._results)[first:]
        if with_open and self._open_window != _NONE_OPEN:
            windows.append(self._open_window)
            results.append(self._open.result())
        metric_wtm = np.reshape(results, (len(windows), len(self.heads), len(self._open.metrics)))
        start = np.repeat(np.array(windows, np.int64) * self.window_ms, len(self.heads))
        columns = [pa.array(start), pa.array(start + self.window_ms), pa.array(self.heads * len(windows))]
        columns += [pa.array(metric.ravel(), from_pandas=True) for metric in np.moveaxis(metric_wtm, 2, 0)]
        # from_pandas made every NaN a null
        typed = [column.cast(field.type) for column, field in zip(columns, self.schema, strict=True)]
        return pa.table(typed, schema=self.schema)

    def total(self) -> dict[str, dict[str, float | int | None]]:
        """Every head's metrics over all rows so far, None where undefined or not of its kind."""
        both = StreamingMetrics(self._kinds)
        both.merge(self._before)
        both.merge(self._open)
        return {
            head: {
                name: None if np.isnan(value) else int(value) if name in both.counts else value
                for name, value in zip(both.metrics, values, strict=True)
            }
            for head, values in zip(self.heads, both.result().tolist(), strict=True)
        }

    def state_dict(self) -> dict[str, NDArray[np.generic]]:
        """Everything, as arrays for a checkpoint; `load_state_dict` restores it bit by bit."""
        shape = (len(self._windows), len(self.heads), len(self._open.metrics))
        return {
            "closed": np.array([self.closed], np.int64),
            "windows": np.array([self._open_window, *self._windows], np.int64),
            "results": np.reshape(np.array(self._results, np.float64), shape),
            **{f"open.{name}": array for name, array in self._open.state_dict().items()},
            **{f"before.{name}": array for name, array in self._before.state_dict().items()},
        }

    def load_state_dict(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from what `state_dict` gave.

        Raises:
            CheckpointError: It is of other heads.
        """
        missing = {"closed", "windows", "results"} - state.keys()
        if missing:
            raise CheckpointError(
                f"metric state: expected '{min(missing)}', found {', '.join(sorted(state))}"
            )
        for prefix, sums in (("open.", self._open), ("before.", self._before)):
            own = {n.removeprefix(prefix): array for n, array in state.items() if n.startswith(prefix)}
            sums.load_state_dict(own)
        self.closed = int(state["closed"][0])
        self._open_window, *windows = (int(window) for window in state["windows"])
        self._windows = deque(windows, maxlen=MAX_WINDOWS)
        self._results = deque((result.astype(np.float64) for result in state["results"]), maxlen=MAX_WINDOWS)
