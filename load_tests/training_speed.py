"""Training speed beside DeepCTR-Torch and torch-rechub, with the same rows and network in one run.

    .venv/bin/python -m load_tests.training_speed [--rows N] [--rounds N] [--out DIR]

Each contender trains in its own process, one at a time, in alternating rounds; figures are medians over the
rounds. The results are written to training_speed.json, .md and .png in the output folder.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch

from load_tests.environment import PYTHON, ROOT, install
from load_tests.machine import processor
from load_tests.peers.workload import BATCH, COLUMNS, DIM, EXPERT, EXPERTS, HEADS, IDS, TOWER
from ranker.files.whole import replacing, write_whole

mpl.use("Agg")
from matplotlib import pyplot as plt

PEERS = {"DeepCTR-Torch": "deepctr-torch==0.3.0", "torch-rechub": "torch-rechub==0.9.0"}
NEEDED = ("scikit-learn", "pandas", "tqdm")  # the peers' imports; they require more than they import
DEEPCTR, RECHUB = (f"{name} {package.split('==')[1]}" for name, package in PEERS.items())
CONTENDERS = {  # label: module of load_tests.peers and variant
    "watchnext": ["watchnext", "default"],
    "watchnext, float32": ["watchnext", "float32"],
    DEEPCTR: ["deepctr", "documented"],
    f"{DEEPCTR}, tuned": ["deepctr", "tuned"],
    RECHUB: ["rechub", "documented"],
    f"{RECHUB}, tuned": ["rechub", "tuned"],
}
NETWORK = (
    f"MMoE, {len(COLUMNS)} id features of width {DIM} ({IDS:,} ids each), {EXPERTS} experts "
    f"{'-'.join(map(str, EXPERT))}, towers of {TOWER[0]}, {len(HEADS)} binary heads, batch {BATCH}, Adam"
)


def main() -> None:
    """Run all rounds and write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--rows", type=int, default=40 * BATCH, help="rows that are timed in a round")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = arguments.parse_args()

    if refused := install(NEEDED) or install([*PEERS.values()], dependencies=False):
        sys.exit(f"expected the peers to install, found: {refused}")
    measured: dict[str, list[dict[str, float]]] = {label: [] for label in CONTENDERS}
    for number in range(given.rounds):
        labels = list(CONTENDERS)
        for label in labels if number % 2 == 0 else reversed(labels):
            measured[label].append(measure(CONTENDERS[label], given.rows))
            print(f"round {number + 1}: {label}: {measured[label][-1]['rows_per_s']:,.0f} rows/s", flush=True)

    report = summarise(measured, given.rows)
    given.out.mkdir(parents=True, exist_ok=True)
    write_whole(given.out / "training_speed.json", (json.dumps(report, indent=2) + "\n").encode())
    write_whole(given.out / "training_speed.md", markdown(report).encode())
    draw(report, given.out / "training_speed.png")
    print("\n" + markdown(report))


def measure(command: list[str], rows: int) -> dict[str, float]:
    """Train one contender in its own process, and return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        measure_it = [PYTHON, "-m", "load_tests.peers.measure", *command]
        process = subprocess.run(
            [*measure_it, "--rows", str(rows), "--out", out], cwd=ROOT, capture_output=True, text=True
        )
        if process.returncode:
            sys.exit(
                f"{' '.join(command)}: expected exit status 0, found {process.returncode}\n{process.stderr}"
            )
        result: dict[str, float] = json.loads(out.read_text())
        return result


def summarise(measured: dict[str, list[dict[str, float]]], rows: int) -> dict[str, Any]:
    """Compute medians, ranges, and watchnext's speed relative to each contender's."""
    speeds = {label: [result["rows_per_s"] for result in results] for label, results in measured.items()}
    ours = statistics.median(speeds["watchnext"])
    contenders = {
        label: {
            "rows_per_s": round(statistics.median(speeds[label])),
            "least": round(min(speeds[label])),
            "most": round(max(speeds[label])),
            "watchnext_is_faster_by": round(ours / statistics.median(speeds[label]), 2),
            "auc": round(statistics.median(result["auc"] for result in measured[label]), 4),
            "cores_used": round(statistics.median(result["cores_used"] for result in measured[label]), 2),
        }
        for label in measured
    }
    machine = {
        "cpu": processor(),
        "threads": int(measured["watchnext"][0]["threads"]),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    rounds = len(speeds["watchnext"])
    return {"network": NETWORK, "rows": rows, "rounds": rounds, "machine": machine, "contenders": contenders}


def markdown(report: dict[str, Any]) -> str:
    """Return the results as a page with one table."""
    machine = report["machine"]
    lines = [
        "# Training speed",
        "",
        f"{report['network']}. Median of {report['rounds']} alternating rounds of {report['rows']:,} rows on "
        f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}.",
        "Tuned: torch's fused Adam, no penalty on the weights.",
        "",
        "| contender | rows/s | least to most | watchnext is faster by | cores used | AUC on the next rows |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label, found in report["contenders"].items():
        lines.append(
            f"| {label} | {found['rows_per_s']:,} | {found['least']:,} to {found['most']:,} "
            f"| {found['watchnext_is_faster_by']:.2f} | {found['cores_used']:.2f} | {found['auc']:.4f} |"
        )
    return "\n".join(lines) + "\n"


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw the medians as bars, with the range as whiskers."""
    labels = list(report["contenders"])[::-1]
    found = [report["contenders"][label] for label in labels]
    speeds = [f["rows_per_s"] for f in found]
    reach = [[f["rows_per_s"] - f["least"] for f in found], [f["most"] - f["rows_per_s"] for f in found]]
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    colours = ["tab:blue" if label.startswith("watchnext") else "tab:gray" for label in labels]
    bars = axes.barh(labels, speeds, xerr=reach, color=colours, capsize=3)
    axes.bar_label(bars, [f"{speed:,}" for speed in speeds], padding=8)
    axes.set_xlabel(
        f"rows trained a second, {report['machine']['cpu']}, {report['machine']['threads']} threads"
    )
    axes.set_xlim(0, 1.2 * max(f["most"] for f in found))
    axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as fresh:
        figure.savefig(fresh, dpi=150, format="png")


if __name__ == "__main__":
    main()
