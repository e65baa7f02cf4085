"""What the predictions of all contenders say about one head."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from load_tests.judging.areas import Areas, Gain
from load_tests.judging.contenders import OURS, TREES, BySeed, Contest
from load_tests.judging.log import Truth
from load_tests.judging.one_pass import FROZEN, LEARNING, LIVE
from ranker.metrics.exact import calibration

MODES: Final = (FROZEN, LIVE, LEARNING)
ALL_DAYS: Final = "all"


def compare(
    contest: Contest, truth: Truth, place: int, found: Mapping[str, BySeed], replicates: int
) -> dict[str, Any]:
    """Everything about one binary head, ready for JSON.

    Args:
        contest: What was run.
        truth: What happened.
        place: The head's place among the tasks.
        found: What everybody predicted for it: (S, N) by mode.
        replicates: Draws of viewers.
    """
    contenders = {f"{name}, {mode}": p for name, modes in found.items() for mode, p in modes.items()}
    areas = Areas(truth, place, contenders, replicates)
    label = truth.labels[:, place].astype(np.float64)
    days = {str(day): [number] for number, day in enumerate(contest.days)}
    return {
        "positives": {day: int(np.nansum(label[truth.day == number])) for day, (number,) in days.items()},
        "against trees": {
            mode: {
                day: _document(areas.gain(f"{OURS}, {mode}", f"{TREES}, {tree_mode(mode)}", numbers))
                for day, numbers in {ALL_DAYS: None, **days}.items()
            }
            for mode in MODES
        },
        "against": {
            name: {mode: _document(areas.gain(f"{OURS}, {mode}", f"{name}, {mode}")) for mode in modes}
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


def _document(gain: Gain) -> dict[str, Any]:
    return {
        "ours": gain.ours,
        "theirs": gain.theirs,
        "gain": gain.gain,
        "interval": list(gain.interval),
        "seeds": list(gain.seeds),
    }
