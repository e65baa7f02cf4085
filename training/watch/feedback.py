"""Whether what viewers do still comes, and is what was predicted."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.labels.label import Task
from ranker.metrics.clustered_mean import mean_interval
from ranker.metrics.exact import calibration
from ranker.metrics.intervals import number_viewers, too_few
from ranker.store.reports import Alarm
from training.gate.window import WindowRows

SILENT_MS: Final = 600_000
"""No feedback for so long is none, if so many rows were shown meanwhile:"""
SILENT_ROWS: Final = 200
MAX_CALIBRATION: Final = 1.5
"""Factor between the means of predictions and labels, if it is surely beyond."""


def silence(rows: WindowRows, known: Mapping[str, float | int | None]) -> Alarm | None:
    """An alarm if videos are shown and nothing comes of it any more.

    Args:
        rows: The newest rows.
        known: How many positive labels there were of each head so far; None where that is not counted.
    """
    recent = rows.later_than(int(rows.times[-1]) - SILENT_MS)
    positives = sum(int(count or 0) for count in known.values())
    longer = rows.times[0] <= rows.times[-1] - SILENT_MS or len(recent) == len(rows)
    if len(recent) < SILENT_ROWS or not longer or not positives or np.nansum(np.abs(recent.labels)) > 0:
        return None
    return Alarm(
        kind="silent feedback",
        about="events",
        expected=f"feedback on some of {len(recent):,} rows of the last {SILENT_MS // 60_000} minutes",
        found="none on any of them",
    )


def head_calibration(
    tasks: Sequence[Task], rows: WindowRows, exported: NDArray[np.float64]
) -> tuple[dict[str, float | None], list[Alarm]]:
    """Mean prediction over mean label of the newest rows, and an alarm for each head that has drifted.

    Args:
        tasks: The heads.
        rows: The newest rows.
        exported: (N, T) predictions as they would be exported, for heads whose own have no corrected mean.
    """
    figures: dict[str, float | None] = {}
    alarms = []
    for index, task in enumerate(tasks):
        known = ~np.isnan(rows.labels[:, index])
        label = rows.labels[known, index].astype(np.float64)
        prediction = (rows.predictions if task.is_probability else exported)[known, index]
        viewers = rows.viewers[known]
        ratio = calibration(label, prediction)
        figures[task.name] = ratio if np.isfinite(ratio) else None
        if task.is_probability and too_few(label, number_viewers(viewers)):
            continue
        high = mean_interval(prediction - MAX_CALIBRATION * label, viewers)
        low = mean_interval(prediction - label / MAX_CALIBRATION, viewers)
        if high.low > 0 or low.high < 0:
            alarms.append(
                Alarm(
                    kind="calibration",
                    about=task.name,
                    expected=f"a mean prediction within a factor {MAX_CALIBRATION:g} of the mean label, "
                    f"{label.mean():.4g}",
                    found=f"{prediction.mean():.4g} in {len(label):,} rows",
                )
            )
    return figures, alarms
