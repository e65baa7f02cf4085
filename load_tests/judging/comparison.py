"""What the predictions of all contenders say about one head."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from load_tests.judging.areas import Areas
from load_tests.judging.contenders import OURS, TREES, BySeed
from load_tests.judging.log import Day, Truth
from load_tests.judging.one_pass import FROZEN, LEARNING, LIVE
from ranker.metrics.exact import calibration

MODES: Final = (FROZEN, LIVE, LEARNING)
ALL_DAYS: Final = "all"


def compare(
    days: Sequence[Day], truth: Truth, place: int, found: Mapping[str, BySeed], replicates: int
) -> dict[str, Any]:
    """Everything about one binary head, ready for JSON.

    Args:
        days: Which were predicted.
        truth: What happened in them.
        place: The head's place among the tasks.
        found: What everybody predicted for it: (S, N) by mode.
        replicates: Draws of viewers.
    """
    contenders = {f"{name}, {mode}": p for name, modes in found.items() for mode, p in modes.items()}
    areas = Areas(truth, place, contenders, replicates)
    label = truth.labels[:, place].astype(np.float64)
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
            if name not in (OURS, TREES)
        },
    }


def calibrations(truth: Truth, place: int, found: Mapping[str, BySeed]) -> dict[str, Any]:
    """Mean prediction over mean label of one head of either kind, ready for JSON.

    Args:
        truth: What happened.
        place: The head's place among the tasks.
        found: What the contenders that have such a head predicted for it: (S, N) by mode.
    """
    label = truth.labels[:, place].astype(np.float64)
    return {
        "positives": int((label > 0).sum()),
        **{
            name: {mode: _calibrated(label, predictions) for mode, predictions in modes.items()}
            for name, modes in found.items()
        },
    }


def tree_mode(mode: str) -> str:
    """The trees' features that a mode is compared with: learning on, with those of daily retraining."""
    return LIVE if mode == LEARNING else mode


def _calibrated(label: NDArray[np.float64], predictions: NDArray[np.float64]) -> float:
    """Mean prediction over mean label of all days, mean over the seeds."""
    known = ~np.isnan(label)
    return float(np.mean([calibration(label[known], of_seed[known]) for of_seed in predictions]))
