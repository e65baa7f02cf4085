"""Comparison of all contenders on one head."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from load_tests.judging.areas import Areas
from load_tests.judging.contenders import OURS, TREES, UNDATED, BySeed
from load_tests.judging.log import Day, Truth
from load_tests.judging.one_pass import FROZEN, LEARNING, LIVE
from ranker.metrics.exact import calibration

MODES: Final = (FROZEN, LIVE, LEARNING)
ALL_DAYS: Final = "all"


def compare(
    days: Sequence[Day], truth: Truth, index: int, found: Mapping[str, BySeed], replicates: int
) -> dict[str, Any]:
    """Compare all contenders on one binary head.

    Args:
        days: The days that were predicted.
        truth: Labels, viewers and days of the rows.
        index: Index of the task.
        found: Predictions of every contender by mode, (S, N).
        replicates: Number of draws of viewers.

    Returns:
        A JSON object: positives by day, gains over the trees, gains over the other contenders, and the
        gains of network and trees with undated columns.
    """
    contenders = {f"{name}, {mode}": p for name, modes in found.items() for mode, p in modes.items()}
    areas = Areas(truth, index, contenders, replicates)
    label = truth.labels[:, index].astype(np.float64)
    numbers = {str(day): [number] for number, day in enumerate(days)}
    return {
        "positives": {day: int(np.nansum(label[truth.day == number])) for day, (number,) in numbers.items()},
        "against trees": {
            mode: {
                day: asdict(areas.gain(f"{OURS}, {mode}", f"{TREES}, {tree_mode(mode)}", of))
                for day, of in {ALL_DAYS: None, **numbers}.items()
            }
            for mode in MODES
        },
        "against": {
            name: {mode: asdict(areas.gain(f"{OURS}, {mode}", f"{name}, {mode}")) for mode in modes}
            for name, modes in found.items()
            if name not in (OURS, TREES) and not name.endswith(UNDATED)
        },
        **({"with undated columns": _undated(areas)} if OURS + UNDATED in found else {}),
    }


def _undated(areas: Areas) -> dict[str, Any]:
    """Compare network and trees that read undated columns, with each other and with those that do not."""
    return {
        mode: {
            "against trees": asdict(areas.gain(f"{OURS}{UNDATED}, {mode}", f"{TREES}{UNDATED}, {of_trees}")),
            OURS: asdict(areas.gain(f"{OURS}{UNDATED}, {mode}", f"{OURS}, {mode}")),
            TREES: asdict(areas.gain(f"{TREES}{UNDATED}, {of_trees}", f"{TREES}, {of_trees}")),
        }
        for mode, of_trees in ((mode, tree_mode(mode)) for mode in MODES)
    }


def calibrations(truth: Truth, index: int, found: Mapping[str, BySeed]) -> dict[str, Any]:
    """Compute mean prediction over mean label of a head of either kind, as a JSON object.

    Args:
        truth: Labels, viewers and days of the rows.
        index: Index of the task.
        found: Predictions by mode, (S, N), of the contenders that have this head.
    """
    label = truth.labels[:, index].astype(np.float64)
    return {
        "positives": int((label > 0).sum()),
        **{
            name: {mode: _calibrated(label, predictions) for mode, predictions in modes.items()}
            for name, modes in found.items()
        },
    }


def tree_mode(mode: str) -> str:
    """Return the mode of the trees that a mode is compared with: live for `learning on`."""
    return LIVE if mode == LEARNING else mode


def _calibrated(label: NDArray[np.float64], predictions: NDArray[np.float64]) -> float:
    """Compute mean prediction over mean label on all days, averaged over seeds."""
    known = ~np.isnan(label)
    return float(np.mean([calibration(label[known], of_seed[known]) for of_seed in predictions]))
