"""The comparison as a page of tables."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from load_tests.judging.comparison import ALL_DAYS, MODES, tree_mode
from load_tests.judging.contenders import OURS, SECOND, TREES
from load_tests.judging.one_pass import FROZEN, LIVE
from load_tests.judging.tree_inputs import LISTED
from load_tests.judging.trees import TUNED
from load_tests.judging.tuning import COUNTS

MIN_POSITIVES: Final = 500
"""Heads with fewer positives are not in the table of calibration."""
Report = dict[str, Any]


def markdown(report: Report) -> str:
    """Return the report as a page."""
    heads: Report = report["heads"]
    lines = [
        "# Quality on real impressions",
        "",
        *_setting(report),
        "",
        f"## Against {TREES}",
        "",
        *_against_trees(heads),
        "",
        *(_by_day(heads, report["days"]) if len(report["days"]) > 1 else ()),
        *(_undated(heads, report["undated columns"]) if report["undated columns"] else ()),
        "## Ways of sharing, at equal multiplications",
        "",
        *_sharing(report),
        "",
        "## What each kind of feature brings",
        "",
        *_ablation(report),
        "",
        "## One pass or two",
        "",
        "AUC after one pass minus AUC after two, for the second of which the features' state begins anew; "
        "below zero the second pass helps.",
        "",
        *_differences(heads, [SECOND], (FROZEN, LIVE)),
        "",
        "## Calibration",
        "",
        f"Mean prediction over mean label of heads with at least {MIN_POSITIVES} positives; in brackets "
        f"{TREES}, which has a model of each binary head.",
        "",
        *_calibration(report["calibration"]),
    ]
    return "\n".join(lines) + "\n"


def _setting(report: Report) -> list[str]:
    on = report["machine"]
    return [
        f"{report['source']}, {report['rows']:,} impressions: the spec `{report['spec']}` against {TREES} "
        "on the same columns and the same features at the same moments. Judged on "
        f"{', '.join(report['days'])} (Beijing), each after training on all that came before; seeds "
        f"{', '.join(map(str, report['seeds']))}. {report['minutes']:.0f} minutes on {on['cpu']}, "
        f"{on['cores']} cores.",
        "",
        "AUC is that within a day, averaged over days and seeds. In brackets: 95 % interval of the "
        f"difference from {report['replicates']} draws of viewers, each with all their rows and the same for "
        "both contenders. It is that of the mean over these seeds; quality.json has the AUC of each of our "
        "seeds minus the mean of theirs. An interval apart from zero is bold.",
        "",
        "- frozen: features stand where the day begins, as do the weights",
        "- live: features go on through the day, each row with what was known at its time; the weights stand",
        f"- learning on: the weights go on as well; compared with {TREES} trained anew for the day, live",
        "",
        *_trees(report["trees"]),
    ]


def _trees(settings_by_head: Mapping[str, str]) -> list[str]:
    return [
        f"{TREES} has a model a head. Of a list it gets the first {LISTED} items, of a history how many it "
        "holds and the age of the latest, and ids where they were found to help, numbered by frequency. "
        f"Settings of {', '.join(TUNED)} were chosen on 29 April to 1 May (`--tune`), with {max(COUNTS)} "
        "trees the most that were tried; the others, with too few positives to choose by, have a default:",
        "",
        *(
            f"- {', '.join(head for head, its in settings_by_head.items() if its == settings)}: {settings}"
            for settings in dict.fromkeys(settings_by_head.values())
        ),
    ]


def _against_trees(heads: Report) -> list[str]:
    titles = " | ".join(f"{mode}: AUC | {TREES} | gain" for mode in MODES)
    lines = [f"| head | positives | {titles} |", "| --- | ---: |" + " ---: | ---: | --- |" * len(MODES)]
    for head, found in heads.items():
        gains = [found["against trees"][mode][ALL_DAYS] for mode in MODES]
        cells = [f"{gain['ours']:.4f} | {gain['theirs']:.4f} | {difference(gain)}" for gain in gains]
        lines.append(f"| {head} | {_positives(found):,} | {' | '.join(cells)} |")
    return lines


def _by_day(heads: Report, days: Sequence[str]) -> list[str]:
    lines = [
        "Day by day:",
        "",
        f"| head | day | positives | {' | '.join(MODES)} |",
        "| --- | --- | ---: |" + " --- |" * len(MODES),
    ]
    for head, found in heads.items():
        for day in days:
            cells = [difference(found["against trees"][mode][day]) for mode in MODES]
            lines.append(f"| {head} | {day} | {found['positives'][day]:,} | {' | '.join(cells)} |")
    return [*lines, ""]


def _undated(heads: Report, columns: Sequence[str]) -> list[str]:
    titles = (
        f"{OURS} with | what they bring it | {TREES} with | what they bring it | gain over {TREES}, both with"
    )
    lines = [
        "## With undated columns",
        "",
        f"{', '.join(columns)} are from a table without a date, which may be younger than the days that are "
        "judged and so hold what happened on them. All figures above and below are without these columns; "
        "here network and trees have them, live. AUC, and its difference to that without:",
        "",
        f"| head | positives | {titles} |",
        "| --- | ---: | ---: | --- | ---: | --- | --- |",
    ]
    for head, found in heads.items():
        gains = found["with undated columns"][LIVE]
        cells = [
            *(f"{gains[name]['ours']:.4f} | {difference(gains[name])}" for name in (OURS, TREES)),
            difference(gains["against trees"]),
        ]
        lines.append(f"| {head} | {_positives(found):,} | {' | '.join(cells)} |")
    return [*lines, ""]


def _sharing(report: Report) -> list[str]:
    sizes: Report = report["multiplications"]
    others = [name for name in sizes if name != OURS]
    counted = "; ".join(f"{name} {sizes[name]:,}" for name in others)
    return [
        f"`{report['kind']}`, the spec's, takes {sizes[OURS]:,} multiplications a candidate; {counted} "
        f"(a network for each task, added up). Above zero, `{report['kind']}` is better.",
        "",
        *_differences(report["heads"], others, MODES),
    ]


def _ablation(report: Report) -> list[str]:
    lines = [
        "AUC with all kinds minus AUC of a network trained without one. Without ids, every id has the same "
        "embedding: histories hold ages alone, while rates are still counted by ids. Without bins, what is "
        "counted by them is gone as well."
    ]
    for mode in (LIVE, FROZEN):
        lines += [
            "",
            f"{mode.capitalize()}:",
            "",
            *_differences(report["heads"], report["ablation"], (mode,)),
        ]
    absent = [f"The spec has no {what}." for what in report["absent"]]
    return [*lines, *(["", " ".join(absent)] if absent else [])]


def _calibration(heads: Report) -> list[str]:
    lines = [f"| head | positives | {' | '.join(MODES)} |", "| --- | ---: |" + " ---: |" * len(MODES)]
    for head, found in heads.items():
        if found["positives"] >= MIN_POSITIVES:
            ours, trees = found[OURS], found.get(TREES)
            beside = ["" if trees is None else f" ({trees[tree_mode(mode)]:.3f})" for mode in MODES]
            cells = [f"{ours[mode]:.3f}{its}" for mode, its in zip(MODES, beside, strict=True)]
            lines.append(f"| {head} | {found['positives']:,} | {' | '.join(cells)} |")
    return lines


def _differences(heads: Report, names: Sequence[str], modes: Sequence[str]) -> list[str]:
    columns = [(name, mode) for name in names for mode in modes]
    titles = [name if len(modes) == 1 else f"{name}, {mode}" for name, mode in columns]
    lines = [f"| head | {' | '.join(titles)} |", "| --- |" + " --- |" * len(columns)]
    for head, found in heads.items():
        cells = [difference(found["against"][name][mode]) for name, mode in columns]
        lines.append(f"| {head} | {' | '.join(cells)} |")
    return lines


def difference(gain: Report) -> str:
    """Format a difference with its interval, bold if the interval does not contain zero."""
    if gain["interval"] is None:
        return f"{gain['gain']:+.4f} (no interval: {gain['no_interval']})"
    low, high = gain["interval"]
    text = f"{gain['gain']:+.4f} [{low:+.4f}, {high:+.4f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def _positives(found: Report) -> int:
    return sum(found["positives"].values())
