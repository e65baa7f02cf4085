"""The results as a page."""

from typing import Any, Final

from load_tests.states.measure import CANDIDATES, TIMES_AS_LONG

LEAST_ROWS_PER_S: Final = 100_000
LEAST_SHARE: Final = 0.5
MOST_MS: Final = 2.0


def markdown(report: dict[str, Any]) -> str:
    """The results as a table with what is needed to read it."""
    state, training, ms = report["state_rows_per_s"], report["training_rows_per_s"], report["look_up_ms"]
    long, saved = report["memory"], [one for one in report["memory"] if "saved_mb" in one]
    half = long[len(long) // 2]
    lines = [
        "# Features that learn from the stream",
        "",
        f"KuaiRand's preset, {report['rows']:,} rows, {report['machine']['cpu']}, "
        f"{report['machine']['cores']} cores, {report['threads']} threads.",
        "",
        "| | measured | aim |",
        "| --- | ---: | ---: |",
        f"| the state alone, rows/s (best of {len(state)}) | {max(state):,.0f} | {LEAST_ROWS_PER_S:,} |",
        f"| training with it, rows/s | {max(training['with']):,.0f} | |",
        f"| training without it, rows/s | {max(training['without']):,.0f} | |",
        f"| with it, share of the speed without | {report['training_share']:.2f} | {LEAST_SHARE} |",
        f"| look-up of {CANDIDATES} candidates, median | {ms['p50']:.2f} ms | {MOST_MS:g} ms |",
        f"| look-up of {CANDIDATES} candidates, 99th percentile | {ms['p99']:.2f} ms | |",
        "",
        f"A log {TIMES_AS_LONG} times as long, with new ids, and room for {report['capacity']:,} keys a "
        "feature:",
        "",
        "| rows | keys | saved state, MB | process grew by, MB |",
        "| ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one['rows']:,} | {one['keys']:,} | {one['saved_mb']:.1f} | {one['grown_mb']:.0f} |"
        for one in saved
    ]
    grown = max(one["grown_mb"] for one in long[len(long) // 2 :]) - half["grown_mb"]
    lines += ["", f"Resident memory grew by {grown:.1f} MB at most over the second half."]
    return "\n".join(lines) + "\n"
