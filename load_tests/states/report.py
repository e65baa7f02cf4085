"""The results as a page with tables."""

from typing import Any, Final

from load_tests.states.measure import CANDIDATES, COPIES

MIN_ROWS_PER_S: Final = 100_000
MIN_SHARE: Final = 0.5
MAX_MS: Final = 2.0


def markdown(report: dict[str, Any]) -> str:
    """Return the results as a page."""
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
        f"| the state alone, rows/s (best of {len(state)}) | {max(state):,.0f} | {MIN_ROWS_PER_S:,} |",
        f"| training with it, rows/s | {max(training['with']):,.0f} | |",
        f"| training without it, rows/s | {max(training['without']):,.0f} | |",
        f"| with it, share of the speed without | {report['training_share']:.2f} | {MIN_SHARE} |",
        f"| look-up of {CANDIDATES} candidates, median | {ms['p50']:.2f} ms | {MAX_MS:g} ms |",
        f"| look-up of {CANDIDATES} candidates, 99th percentile | {ms['p99']:.2f} ms | |",
        "",
        f"A log {COPIES} times as long, with new ids, and room for {report['capacity']:,} keys a feature:",
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
