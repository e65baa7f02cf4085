"""The results of a soak as a page and a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from load_tests.soaking.figures import BIN_S, MIN_MEMORY_RUN_S, WARM_UP
from load_tests.unfair.attacks import HEADS, TRAILERS
from ranker.files.whole import replacing

Report = dict[str, Any]
COLOURS: Final = {
    "swap": "tab:green",
    "state": "tab:cyan",
    "redis": "tab:red",
    "damaged": "black",
    "load": "tab:purple",
    "registry": "tab:brown",
    "trailers": "tab:orange",
    "heads": "tab:orange",
    "bodies": "tab:orange",
    "deleted": "tab:olive",
}
NAMES: Final = {
    "swap": "hot swap",
    "swap_other_records": "hot swap to other records",
    "state": "newer state of the features",
    "damaged": "damaged bundle made current",
    "redis_killed": "Redis killed, back with its data",
    "redis_paused": "Redis hangs",
    "redis_emptied": "Redis back without its data",
    "load": "features loaded in bulk",
    "write": "video written",
    "registry_hung": "registry hangs",
    "swap_undecodable": "hot swap beside records that cannot be read",
    "trailers": f"{TRAILERS} connections with trailers without end",
    "heads": f"{HEADS} connections with heads without bodies",
    "bodies": "bodies that cost as much as they can",
    "deleted": "viewer and video deleted",
}


def markdown(report: Report, wrong: list[str]) -> str:
    """Return all figures as a page."""
    on, swaps = report["machine"], [e for e in report["events"] if e["what"].startswith("swap")]
    states = [e for e in report["events"] if e["what"] == "state"]
    hours = report["seconds"] / 3600
    span = f"{hours:.1f} h" if hours >= 1 else f"{report['seconds'] / 60:.1f} min"
    lines = [
        "# A service under load for a while",
        "",
        f"{span} of {report['rate_per_s']:.1f} requests a second, {report['share_of_most']:.0%} of the "
        f"{report['most_per_s']:.1f} measured first; {report['candidates']} candidates, 6.2M multiplications "
        f"each; one `watchnext serve` on {on['cpu']}, {on['cores']} cores, {on['memory_gb']} GB, "
        f"Python {on['python']}, torch {on['torch']}, {report['when']}. The client, Redis and all else that "
        "happens share the cores.",
        "",
        "| | |",
        "| --- | ---: |",
        f"| requests sent | {report['sent']:,} |",
        f"| failed | {report['failed']:,} |",
        f"| of mixed or wrong versions | {report['mixed_versions']:,} |",
        f"| answers recomputed | {report['verified']:,} |",
        f"| largest difference of a probability | {report['largest_difference']:.4f} |",
        f"| hot swaps | {sum(e['failed'] is None for e in swaps)} of {len(swaps)} |",
        f"| newer states taken up | {sum(e['failed'] is None for e in states)} of {len(states)} |",
        f"| latency, p50 | {report['p50_ms']} ms |",
        f"| latency, p99 | {report['p99_ms']} ms |",
        f"| latency, p99.9 | {report['p999_ms']} ms |",
        f"| memory, median | {report['memory_mb']:.0f} MB |",
        "| memory, change an hour, when everything has happened once, "
        f"from {report['grown_since_s']:.0f} s on "
        f"| {_change(report['growth_mb_h'])} |",
        f"| memory, change an hour, after the first {WARM_UP:.0%} of the time "
        f"| {_change(report['growth_after_warm_up_mb_h'])} |",
        f"| records written singly, by status | {_counts(report['writes'])} |",
        "",
        "Recomputed answers: those after every change and a share of all others, with the bundle that they "
        f"name and the state that it may have had then, in float32. Of those compared with the next bundle "
        f"too, {report['told_apart']:.1%} could not have come from it; with the next state, "
        f"{report['states_told_apart']:.1%}. "
        "Memory: of all processes of the service, median of the slopes with its 95 % interval"
        + ("." if report["seconds"] >= MIN_MEMORY_RUN_S else "; a run this short says nothing of it."),
        "",
        "![Memory and latency](soak.png)",
        "",
        "| at s | what | took s | degraded answers | normal again after s | memory, MB | |",
        "| ---: | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for event in report["events"]:
        took, normal = event["seconds"], event.get("normal_after_s")
        lines.append(
            f"| {event['at']:.0f} | {NAMES[event['what']]} | {'' if took is None else f'{took:.2f}'} "
            f"| {event.get('degraded', '')} | {'' if normal is None else f'{normal:.2f}'} "
            f"| {'' if event['memory_step_mb'] is None else format(event['memory_step_mb'], '+.0f')} "
            f"| {event['failed'] or event['version'] or _parts(event['part'])} |"
        )
    lines += [
        "",
        "A swap takes from `current.json` to the first answer of the new version; a written video, from its "
        "204 to the first ranking that shows it; a newer state, from the end of the command that stores it "
        "to the `GET /v1/model` that names it; Redis is back when it answers. Memory: the least "
        "reading until the next event against the least since the one before.",
    ]
    if wrong:
        lines += ["", "## What should not be", "", *(f"- {each}" for each in wrong)]
    return "\n".join(lines) + "\n"


def draw(report: Report, path: Path) -> None:
    """Draw memory and latency over time, with the events."""
    figure, (memory, latency) = plt.subplots(2, 1, figsize=(13, 7), sharex=True, layout="constrained")
    memory.plot(*zip(*report["memory"], strict=True), color="tab:blue")
    memory.set_ylim(0)
    memory.set_ylabel("memory in MB")
    bins = [each for each in report["bins"] if each["answers"]]
    middles = [each["at"] + BIN_S / 2 for each in bins]
    latency.plot(middles, [each["p50_ms"] for each in bins], color="tab:blue", label="p50")
    latency.plot(middles, [each["p99_ms"] for each in bins], color="tab:orange", label="p99")
    latency.set_yscale("log")
    latency.set_ylabel("latency in ms, by 10 s")
    latency.set_xlabel("seconds")
    seen = set()
    for event in report["events"]:
        kind = event["what"].partition("_")[0]
        if kind in COLOURS:
            label = kind.capitalize() if kind not in seen else None
            seen.add(kind)
            for axes in (memory, latency):
                axes.axvline(event["at"], color=COLOURS[kind], linewidth=0.8, alpha=0.7, label=label)
    for axes in (memory, latency):
        axes.spines[["top", "right"]].set_visible(False)
    latency.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=8, frameon=False)
    memory.set_title(
        f"{report['rate_per_s']:.0f} requests a second, {report['sent']:,} sent, {report['failed']} failed; "
        f"memory {_change(report['growth_mb_h'])} an hour from {report['grown_since_s']:.0f} s on",
        fontsize=10,
        loc="left",
    )
    with replacing(path) as fresh:
        figure.savefig(fresh, dpi=130, format="png")
    plt.close(figure)


def _change(growth: Sequence[float]) -> str:
    slope, low, high = growth
    return f"{slope:+.1f} MB ({low:+.1f} to {high:+.1f})"


def _parts(part: int | None) -> str:
    return "" if part is None else f"of {part} parts of the stream"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} times {status}" for status, count in counts.items())
