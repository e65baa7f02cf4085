"""What writing impressions costs a ranking: two services side by side, of which one writes them.

    python -m load_tests.impressions_cost [--network paper|small] [--rounds N] [--seconds S]
        [--serve-flags FLAGS] [--out FOLDER]

Both rank the reference ranker (`ranking/reference.py`), or one with the same features and a small network, on
the same cores and the same Redis, one with `--impressions off` and one with `sync`. They are asked in turn in
short blocks, first the one and then the other: one request at a time for latency, four for throughput, with
20 and with all 500 videos returned. Figures are medians over the rounds: of p50, of the differences within a
round, of the ratios within a round. The results are written to impressions_cost.json and .md in the output
folder; QUICK=1 takes less than two minutes on a quiet machine, and writes only with --out.
"""

import argparse
import json
import os
import shlex
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from load_tests.machine import machine
from load_tests.ranking.measure import Figures, load
from load_tests.ranking.process import Running, free_port, running
from load_tests.ranking.reference import reference_spec
from load_tests.ranking.world import CANDIDATES, LIMIT, World, make_world
from ranker.files.whole import write_whole
from ranker.private_redis.server import private_server
from ranker.spec import RankerSpec

MODES: Final = ("off", "sync")
RETURNED: Final = (LIMIT, CANDIDATES)
KEPT: Final = 2_000
"""Entries that the log may have, so that a run takes little memory."""
WARM_UP_S: Final = 0.3
MOST_MS, LEAST_RATIO = 1.5, 0.93
"""What is aimed at: the difference of p50, and the ratio of throughputs."""


@dataclass(frozen=True)
class Plan:
    """Extent of a run.

    Attributes:
        rounds: Rounds over all blocks.
        seconds: Length of one block.
    """

    rounds: int
    seconds: float


FULL = Plan(15, 4.0)
QUICK = Plan(4, 1.0)
SMALL: Final = {"shared": (64,), "expert": (32,), "tower": (16,)}
"""Layers of the small network, which hides less of what is measured."""


def measure(world: World, services: dict[str, Running], plan: Plan) -> dict[str, Any]:
    """Ask both services in turn; figures by the number of videos that are returned."""
    found: dict[int, dict[str, list[Figures]]] = {n: {mode: [] for mode in MODES} for n in RETURNED}
    for number in range(plan.rounds):
        for returned in RETURNED:
            requests = request_file(world, returned)
            for mode in MODES if number % 2 == 0 else reversed(MODES):
                before = after_model(services[mode])
                alone = load(services[mode], requests, plan.seconds, WARM_UP_S, "--connections", "1")
                (s, count), (s_before, count_before) = after_model(services[mode]), before
                four = load(services[mode], requests, plan.seconds, WARM_UP_S, "--connections", "4")
                figures = {
                    "p50_ms": alone["p50_ms"],
                    "phase_ms": round((s - s_before) / max(1.0, count - count_before) * 1000, 3),
                    "requests_per_s": four["requests_per_s"],
                    "failed_per_s": alone["failed_per_s"] + four["failed_per_s"],
                    "others_cores": max(alone["others_cores"], four["others_cores"]),
                }
                found[returned][mode].append(figures)
                print(f"round {number + 1}, {returned} returned, {mode}: {figures}", flush=True)
    return {str(returned): _summary(found[returned]) for returned in RETURNED}


def network_spec(network: str) -> RankerSpec:
    """The reference ranker, or the same with a small network."""
    spec = reference_spec(8)
    if network == "paper":
        return spec
    return spec.model_copy(update={"name": "small", "network": spec.network.model_copy(update=SMALL)})


def request_file(world: World, returned: int) -> Path:
    """Write the requests with so many videos returned, one a line."""
    path = world.folder / f"returning-{returned}.jsonl"
    if not path.exists():
        bodies = ({**body, "limit": returned} for body in world.requests)
        path.write_text("".join(json.dumps(body, separators=(",", ":")) + "\n" for body in bodies))
    return path


def _summary(found: dict[str, list[Figures]]) -> Figures:
    def paired(name: str) -> list[tuple[float, float]]:
        return [(a[name], b[name]) for a, b in zip(found["off"], found["sync"], strict=True)]

    return {
        "off_p50_ms": statistics.median(a for a, _ in paired("p50_ms")),
        "sync_p50_ms": statistics.median(b for _, b in paired("p50_ms")),
        "difference_ms": round(statistics.median(b - a for a, b in paired("p50_ms")), 3),
        "phase_ms": round(statistics.median(b - a for a, b in paired("phase_ms")), 3),
        "off_per_s": statistics.median(a for a, _ in paired("requests_per_s")),
        "sync_per_s": statistics.median(b for _, b in paired("requests_per_s")),
        "ratio": round(statistics.median(b / a for a, b in paired("requests_per_s")), 3),
        "failed_per_s": max(each["failed_per_s"] for rounds in found.values() for each in rounds),
        "others_cores": max(each["others_cores"] for rounds in found.values() for each in rounds),
        "rounds": found,
    }


def after_model(service: Running) -> tuple[float, float]:
    """The seconds that all requests so far have spent once they were predicted, and how many they were."""
    with urllib.request.urlopen(f"{service.url}/metrics") as answer:
        lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
    name = 'watchnext_phase_seconds_{}{{phase="{}"}}'
    seconds = sum(float(lines[name.format("sum", phase)]) for phase in ("score", "impression"))
    return seconds, float(lines[name.format("count", "score")])


def markdown(report: dict[str, Any]) -> str:
    """Write the table."""
    lines = [
        "# What impressions cost",
        "",
        f"{report['when']}, {report['machine']['cpu']}, {report['machine']['cores']} cores, which client and "
        f"Redis share with the services; {report['network']} network, `watchnext serve "
        f"{report['serve_flags']}`, {CANDIDATES} candidates, "
        f"{report['rounds']} rounds of {report['seconds']:g} s a block. Aimed at: at most {MOST_MS} ms, at "
        f"least {LEAST_RATIO}.",
        "",
        "| returned | p50 off, ms | p50 sync, ms | difference, ms | impression, ms | a second off "
        "| a second sync | ratio |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for returned, each in report["returned"].items():
        lines.append(
            f"| {returned} | {each['off_p50_ms']:.2f} | {each['sync_p50_ms']:.2f} "
            f"| {each['difference_ms']:+.2f} | {each['phase_ms']:.2f} | {each['off_per_s']:.1f} "
            f"| {each['sync_per_s']:.1f} | {each['ratio']:.3f} |"
        )
    others = max(each["others_cores"] for each in report["returned"].values())
    failed = max(each["failed_per_s"] for each in report["returned"].values())
    lines += ["", "impression: how much longer requests take, on average, from predictions to the answer."]
    lines += ["", f"Cores that others used, at most: {others:.2f}. Failed requests a second: {failed:g}."]
    return "\n".join(lines) + "\n"


@contextmanager
def started(world: World, mode: str, redis_url: str, flags: list[str]) -> Iterator[Running]:
    """Run a service while the context lasts."""
    port = free_port()
    command = [sys.executable, "-m", "watchnext", "serve", "--port", str(port), "--impressions", mode]
    command += ["--registry", world.registry, "--redis-url", redis_url]
    command += ["--max-events", str(KEPT), "--at-max-events", "drop", *flags]
    first = json.dumps(world.requests[0]).encode()
    with running(command, port, {}, world.folder / f"{mode}.log", first) as service:
        yield service


def main() -> None:
    """Measure, and write the results."""
    quick = os.environ.get("QUICK") == "1"
    plan = QUICK if quick else FULL
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--network", choices=["paper", "small"], default="paper")
    arguments.add_argument("--rounds", type=int, default=plan.rounds)
    arguments.add_argument("--seconds", type=float, default=plan.seconds, help="of one block")
    arguments.add_argument("--serve-flags", default="--workers 1", help="more flags for both services")
    arguments.add_argument("--out", type=Path, default=None if quick else Path(__file__).parent / "results")
    given = arguments.parse_args()
    plan = Plan(given.rounds, given.seconds)
    report: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": machine(),
        "network": given.network,
        "serve_flags": given.serve_flags,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
    }
    with tempfile.TemporaryDirectory(prefix="impressions-") as folder:
        world = make_world(Path(folder), network_spec(given.network))
        flags = shlex.split(given.serve_flags)
        with (
            private_server(world.home) as url,
            started(world, "off", url, flags) as off,
            started(world, "sync", url, flags) as sync,
        ):
            report["returned"] = measure(world, {"off": off, "sync": sync}, plan)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write_whole(given.out / "impressions_cost.json", (json.dumps(report, indent=2) + "\n").encode())
        write_whole(given.out / "impressions_cost.md", markdown(report).encode())
    print("\n" + markdown(report))


if __name__ == "__main__":
    main()
