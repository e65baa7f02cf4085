"""What was found, as a document and in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from load_tests.judging.areas import Areas, Gain
from load_tests.judging.contenders import OURS, SECOND, TREES, BySeed, Contest
from load_tests.judging.log import Truth
from load_tests.judging.one_pass import FROZEN, LEARNING, LIVE
from ranker.metrics.exact import calibration

MODES: Final = (FROZEN, LIVE, LEARNING)
ENOUGH: Final = 500
"""Positives from which on a head is held to be calibrated."""
Report = dict[str, Any]


def head_report(
    contest: Contest, truth: Truth, place: int, found: Mapping[str, BySeed], replicates: int
) -> Report:
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
    days = {str(day): [number] for number, day in enumerate(contest.days)}
    label = truth.labels[:, place].astype(np.float64)
    return {
        "positives": {day: int(np.nansum(label[truth.day == number])) for day, (number,) in days.items()},
        "against trees": {
            mode: {
                day: _gain(areas.gain(f"{OURS}, {mode}", f"{TREES}, {tree_mode(mode)}", numbers))
                for day, numbers in {"all": None, **days}.items()
            }
            for mode in MODES
        },
        "against": {
            name: {mode: _gain(areas.gain(f"{OURS}, {mode}", f"{name}, {mode}")) for mode in modes}
            for name, modes in found.items()
            if name not in (OURS, TREES)
        },
        "calibration": {mode: calibrated(label, found[OURS][mode]) for mode in MODES},
        "calibration of trees": {mode: calibrated(label, p) for mode, p in found[TREES].items()},
    }


def tree_mode(mode: str) -> str:
    """The trees' features that a mode is compared with: learning on, with those of daily retraining."""
    return LIVE if mode == LEARNING else mode


def calibrated(label: Any, predictions: Any) -> float:
    """Mean prediction over mean label of all days, mean over the seeds."""
    known = ~np.isnan(label)
    return float(np.mean([calibration(label[known], of_seed[known]) for of_seed in predictions]))


def markdown(report: Report) -> str:
    """The report in words and tables."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    heads: Report = report["heads"]
    on = report["machine"]
    yield "# Quality on real impressions"
    yield ""
    yield (
        f"{report['source']}: {report['rows']:,} impressions; the spec `{report['spec']}` against {TREES} with the "
        f"same columns and the same features at the same moments, on {', '.join(report['days'])} (Beijing), each "
        f"after training on all that came before. Seeds {', '.join(map(str, report['seeds']))}. Made in "
        f"{report['minutes']:.0f} minutes on {on['cpu']}, {on['cores']} cores."
    )
    yield ""
    yield (
        "AUC is computed within each day and averaged over the days and the seeds. In brackets: 95 % interval of "
        f"the difference, {report['replicates']} draws of viewers with all their rows, both contenders on the same "
        "draws; it holds for the mean of these seeds, each of which is shown in the JSON. An interval apart from "
        "zero is bold. "
        "Frozen: features stand where the day begins. Live: they go on through the day, weights stand. Learning "
        f"on: weights go on as well, compared with {TREES} retrained for the day, with live features."
    )
    yield ""
    yield f"{TREES}, a model a head: {report['trees']}; chosen on earlier days (`--tune`)."
    yield ""
    yield f"## Against {TREES}"
    yield ""
    yield "| head | positives | " + " | ".join(f"{mode}: AUC | {TREES} | gain" for mode in MODES) + " |"
    yield "| --- | ---: |" + " ---: | ---: | --- |" * len(MODES)
    for head, found in heads.items():
        cells = [_against(found["against trees"][mode]["all"]) for mode in MODES]
        yield f"| {head} | {sum(found['positives'].values()):,} | {' | '.join(cells)} |"
    if len(report["days"]) > 1:
        yield ""
        yield "Day by day, the gain with its interval:"
        yield ""
        yield "| head | day | positives | " + " | ".join(MODES) + " |"
        yield "| --- | --- | ---: |" + " --- |" * len(MODES)
        for head, found in heads.items():
            for day in report["days"]:
                cells = [_interval(found["against trees"][mode][day]) for mode in MODES]
                yield f"| {head} | {day} | {found['positives'][day]:,} | {' | '.join(cells)} |"
    sizes: Report = report["multiplications"]
    others = [name for name in report["others"] if name in sizes]
    yield ""
    yield "## Ways of sharing, at equal multiplications"
    yield ""
    yield (
        f"`{report['kind']}` multiplies {sizes[OURS]:,} times a candidate; "
        + "; ".join(f"{name} {sizes[name]:,} times" for name in others)
        + f". Positive: `{report['kind']}` is better."
    )
    yield ""
    yield from _differences(heads, others, MODES)
    yield ""
    yield "## What each kind of feature brings"
    yield ""
    yield (
        "AUC with all kinds minus AUC without one, trained without it. Without ids, every id has the same "
        "embedding, so histories hold ages alone, while rates are still counted by ids; without bins, what is "
        "counted by them is gone as well."
    )
    for mode in (LIVE, FROZEN):
        yield ""
        yield f"{mode.capitalize()} features:"
        yield ""
        yield from _differences(heads, report["ablation"], (mode,))
    if report["absent"]:
        yield ""
        yield f"The spec has no {', no '.join(report['absent'])}."
    yield ""
    yield "## One pass or two"
    yield ""
    yield "AUC after one pass minus AUC after two, the features' state begun anew. Negative: the second helps."
    yield ""
    yield from _differences(heads, [SECOND], (FROZEN, LIVE))
    yield ""
    yield "## Calibration"
    yield ""
    yield f"Mean prediction over mean label, heads with at least {ENOUGH} positives; in brackets {TREES}."
    yield ""
    yield "| head | positives | " + " | ".join(MODES) + " |"
    yield "| --- | ---: |" + " ---: |" * len(MODES)
    for head, found in heads.items():
        positives = sum(found["positives"].values())
        if positives >= ENOUGH:
            trees = found["calibration of trees"]
            cells = [f"{found['calibration'][m]:.3f} ({trees[tree_mode(m)]:.3f})" for m in MODES]
            yield f"| {head} | {positives:,} | {' | '.join(cells)} |"


def _differences(heads: Report, names: Sequence[str], modes: Sequence[str]) -> Iterator[str]:
    columns = [(name, mode) for name in names for mode in modes]
    titles = [name if len(modes) == 1 else f"{name}, {mode}" for name, mode in columns]
    yield f"| head | {' | '.join(titles)} |"
    yield "| --- |" + " --- |" * len(columns)
    for head, found in heads.items():
        cells = [_interval(found["against"][name][mode]) for name, mode in columns]
        yield f"| {head} | {' | '.join(cells)} |"


def _against(gain: Report) -> str:
    return f"{gain['ours']:.4f} | {gain['theirs']:.4f} | {_interval(gain)}"


def _interval(gain: Report) -> str:
    low, high = gain["interval"]
    text = f"{gain['gain']:+.4f} [{low:+.4f}, {high:+.4f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def _gain(gain: Gain) -> Report:
    return {
        "ours": gain.ours,
        "theirs": gain.theirs,
        "gain": gain.gain,
        "interval": list(gain.interval),
        "seeds": list(gain.seeds),
    }
