"""The results of the side-by-side run as a page of tables."""

from typing import Any

from load_tests.ranking.contenders import OURS
from load_tests.ranking.plots import growth_line

Report = dict[str, Any]
NETWORK = {
    "8": "6.1M multiplications a candidate, 8 experts",
    "4": "3.7M multiplications a candidate, 4 experts",
}

DISTURBED = 0.1
"""Cores used by other programs from which on the page has a warning."""


def markdown(report: Report) -> str:
    """Return all tables as a page."""
    on = report["machine"]
    lines = [
        "# Ranking services side by side",
        "",
        f"{report['candidates']} candidates, the best 20 returned, the same weights and requests for all. "
        f"Median of {report['rounds']} rounds of {report['seconds']:g} s over {report['connections']} "
        f"connections, one service at a time, on {on['cpu']}, {on['cores']} cores, {on['memory_gb']} GB, "
        f"Python {on['python']}, torch {on['torch']}, {report['when']}. The client shares the cores.",
    ]
    if (others := _others(report)) > DISTURBED:
        lines += [
            "",
            f"**Other programs took up to {others:.2f} cores meanwhile: these figures say little.**",
        ]
    for experts, size in report["sizes"].items():
        lines += ["", f"## {NETWORK[experts]}", "", *_speeds(size)]
        if size["under_load"]:
            lines += ["", *_steady(size["under_load"]), "", *_overload(size["under_load"], report)]
    lines += ["", "## More candidates", "", *_growth(report["growth"])]
    lines += ["", "## Settings", "", *_settings(report)]
    return "\n".join(lines) + "\n"


def _others(report: Report) -> float:
    """Return the largest number of cores that other programs used in a round."""
    sizes = report["sizes"].values()
    return max(found["others_cores"] for size in sizes for found in size["contenders"].values())


def _speeds(size: Report) -> list[str]:
    lines = [
        "| service | requests/s | least to most | watchnext is faster by | p50 ms | p99 ms | not answered "
        "| memory MB | top-20 overlap | largest difference of a probability |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label, found in size["contenders"].items():
        lines.append(
            f"| {label} | {found['requests_per_s']:.1f} | {found['least']:.1f} to {found['most']:.1f} "
            f"| {found['watchnext_is_faster_by']:.2f} | {_ms(found['p50_ms'])} | {_ms(found['p99_ms'])} "
            f"| {found['failed_per_s']:g}/s | {found['memory_mb']:.0f} | {found['overlap']:.3f} "
            f"| {found['largest_difference']:.1g} |"
        )
    lines += [f"| {label} | {reason} |" + " |" * 8 for label, reason in size["absent"].items()]
    return lines


def _steady(loads: Report) -> list[str]:
    lines = [
        "At 70 % of what each can do, requests coming evenly, and as chance has it (Poisson); latency counts "
        "from when a request is due:",
        "",
        "| service | rate/s | even: p50 ms | p99 ms | p99/p50 | Poisson: p50 ms | p99 ms | p99/p50 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label, found in loads.items():
        even, poisson = found["steady_even"], found["steady_poisson"]
        cells = [
            cell
            for each in (even, poisson)
            for cell in (_ms(each["p50_ms"]), _ms(each["p99_ms"]), _ratio(each["p99_ms"], each["p50_ms"]))
        ]
        lines.append(f"| {label} | {poisson['sent_per_s']:.1f} | {' | '.join(cells)} |")
    return lines


def _overload(loads: Report, report: Report) -> list[str]:
    lines = [
        f"At {report['overload_times']} times what each can do, with {report['timeout_ms']} ms to answer:",
        "",
        "| service | sent/s | answered in time/s | of the maximum | 503/s | 503: p99 ms "
        "| no answer in time/s | connection refused or lost/s | client's cores |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label, found in loads.items():
        over = found["overload"]
        lines.append(
            f"| {label} | {over['sent_per_s']:.0f} | {over['requests_per_s']:.1f} "
            f"| {over['requests_per_s'] / found['most_per_s']:.0%} | {over['rejected_per_s']:.1f} "
            f"| {_ms(over['rejected_p99_ms'])} | {over['late_per_s']:.1f} | {over['failed_per_s']:.1f} "
            f"| {over['client_cores']:.2f} |"
        )
    return lines


def _growth(growth: list[Report]) -> list[str]:
    candidates = [each["candidates"] for each in growth]
    slope, intercept, fit = growth_line(candidates, [each["p50_ms"] for each in growth])
    first, last = growth[0], growth[-1]
    return [
        f"{OURS}, one request at a time: p50 is {intercept:.2f} ms and {slope * 1e3:.1f} µs a candidate "
        f"(R² {fit:.4f}); memory goes from {first['memory_mb']:.0f} MB at {first['candidates']} candidates "
        f"to {last['memory_mb']:.0f} MB at {last['candidates']}.",
        "",
        "| candidates | p50 ms | p99 ms | memory MB |",
        "| ---: | ---: | ---: | ---: |",
        *map(_growth_line, growth),
    ]


def _growth_line(at: Report) -> str:
    return f"| {at['candidates']} | {_ms(at['p50_ms'])} | {_ms(at['p99_ms'])} | {at['memory_mb']:.0f} |"


def _settings(report: Report) -> list[str]:
    lines = ["| service | settings |", "| --- | --- |"]
    return lines + [f"| {label} | {settings} |" for label, settings in report["settings"].items()]


def _ms(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f}"


def _ratio(value: float | None, to: float | None) -> str:
    return "none" if value is None or not to else f"{value / to:.1f}"
