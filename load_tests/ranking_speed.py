"""Ranking services side by side, with the same network, weights and requests in one run.

    python -m load_tests.ranking_speed [--rounds N] [--seconds S] [--only LABEL ...] [--serve-flags FLAGS]

One service runs at a time, in rounds (A B C, A B C, ...), and figures are medians over the rounds. The
results are written to ranking_speed.json, .md and .png in the output folder. QUICK=1 takes less than five
minutes.
"""

import argparse
import json
import os
import shlex
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from load_tests.machine import machine
from load_tests.ranking.contenders import CONTENDERS, OURS, Contender
from load_tests.ranking.measure import Figures, MemoryWatch, agreement, load
from load_tests.ranking.plots import draw
from load_tests.ranking.process import Running, ServiceError, free_port, running
from load_tests.ranking.reference import reference_spec
from load_tests.ranking.report import markdown
from load_tests.ranking.resident import write_resident
from load_tests.ranking.world import CANDIDATES, World, expected_predictions, make_world
from ranker.files.whole import write_whole
from ranker.private_redis.server import private_server

CONNECTIONS = 4
STEADY = 0.7
OVERLOAD = 10
TIMEOUT_MS = 250
STEADY_TIMEOUT_MS = 5_000
"""Timeout at the steady rate, so that a service that falls behind does not hang the run."""
GROWTH = (50, 100, 200, 350, 500, 650, 800, 1_000)


@dataclass(frozen=True)
class Plan:
    """Extent of a run.

    Attributes:
        rounds: Rounds over all services.
        seconds: Length of one measurement.
        warm_up_s: Load before each measurement, in seconds.
        agreeing: Requests whose answers are compared with the bundle.
        under_load: Labels of the services that are also measured at 70 % and overloaded; None for all.
        sizes: Numbers of experts of the networks; all measurements are made of the first network only.
    """

    rounds: int
    seconds: float
    warm_up_s: float
    agreeing: int
    under_load: tuple[str, ...] | None
    sizes: tuple[int, ...]


FULL = Plan(3, 10, 3, 100, None, (8, 4))
QUICK = Plan(1, 3, 1, 10, (OURS, "FastAPI + PyTorch"), (8,))


class Comparison:
    """All measurements of one network.

    Args:
        world: The world with the network.
        plan: Extent of the run.
        contenders: The services to compare.
        serve_flags: Further flags of `watchnext serve`.
    """

    def __init__(self, world: World, plan: Plan, contenders: list[Contender], serve_flags: list[str]) -> None:
        self.world, self.plan, self.contenders, self.serve_flags = world, plan, contenders, serve_flags
        self.rounds: dict[str, list[Figures]] = {}
        self.absent: dict[str, str] = {}
        self._requests = world.request_file(CANDIDATES)
        self._first = self._requests.read_bytes().partition(b"\n")[0]
        self._expected: NDArray[np.float64] = expected_predictions(world, plan.agreeing)

    def run(self, *, under_load: bool) -> dict[str, Any]:
        """Measure all services; with `under_load`, also at 70 % and at 10 times their maximum.

        Returns:
            A JSON object: summaries by label, figures under load, and the services that did not run.
        """
        labels = tuple(contender.label for contender in self.contenders)
        heavy = (self.plan.under_load or labels) if under_load else ()
        loads: dict[str, Figures] = {}
        for number in range(self.plan.rounds):
            for contender in self.contenders:
                if contender.label in self.absent:
                    continue
                try:
                    with self.started(contender) as service:
                        self._round(number, contender.label, service)
                        if number == self.plan.rounds - 1 and contender.label in heavy:
                            loads[contender.label] = self._under_load(contender.label, service)
                except (ServiceError, ValueError, OSError) as error:
                    self._leave_out(contender.label, f"did not serve: {error}")
        if OURS not in self.rounds:
            sys.exit(f"expected {OURS} to serve, found: {self.absent[OURS]}")
        return {
            "contenders": {label: _summary(self.rounds[label], self.rounds[OURS]) for label in self.rounds},
            "under_load": loads,
            "absent": self.absent,
        }

    def install(self) -> None:
        """Install the contenders' packages; contenders whose packages do not install are left out."""
        for contender in self.contenders:
            if refused := contender.install():
                self._leave_out(contender.label, f"did not install: {refused}")

    def growth(self) -> list[Figures]:
        """Measure watchnext's latency and memory by the number of candidates, one request at a time."""
        found = []
        with self.started(self.contenders[0]) as service:
            for candidates in GROWTH:
                with MemoryWatch(service) as memory:
                    figures = self._load(
                        service, "--connections", "1", requests=self.world.request_file(candidates)
                    )
                found.append(
                    {
                        "candidates": candidates,
                        "p50_ms": figures["p50_ms"],
                        "p99_ms": figures["p99_ms"],
                        "memory_mb": round(memory.max_bytes / 1e6, 1),
                    }
                )
                print(f"{candidates} candidates: {found[-1]}", flush=True)
        return found

    @contextmanager
    def started(self, contender: Contender) -> Iterator[Running]:
        """Run a contender while the context lasts."""
        port = free_port()
        command = contender.command(self.world, port, self.serve_flags)
        log = self.world.folder / f"{contender.module or OURS}-{contender.precision}.log"
        with running(command, port, contender.environment(self.world), log, self._first) as service:
            yield service

    def _round(self, number: int, label: str, service: Running) -> None:
        checked = agreement(service, self.world, self._expected) if number == 0 else {}
        figures = self._load(service, "--connections", str(CONNECTIONS))
        figures["memory_mb"] = round(service.memory_bytes() / 1e6)
        self.rounds.setdefault(label, []).append(figures | checked)
        print(
            f"round {number + 1}: {label}: {figures['requests_per_s']:.1f} requests/s, "
            f"p50 {figures['p50_ms']} ms, p99 {figures['p99_ms']} ms {checked or ''}",
            flush=True,
        )

    def _under_load(self, label: str, service: Running) -> Figures:
        max_per_s = statistics.median(each["requests_per_s"] for each in self.rounds[label])
        steady = ["--rate", f"{STEADY * max_per_s:.2f}", "--timeout-ms", str(STEADY_TIMEOUT_MS)]
        found = {"most_per_s": max_per_s}
        found["steady_even"] = self._load(service, *steady, "--arrivals", "even")
        found["steady_poisson"] = self._load(service, *steady)
        over = ["--rate", f"{OVERLOAD * max_per_s:.2f}", "--arrivals", "even"]
        found["overload"] = self._load(service, *over, "--timeout-ms", str(TIMEOUT_MS))
        answered, rejected = found["overload"]["requests_per_s"], found["overload"]["rejected_per_s"]
        print(
            f"{label} at {OVERLOAD} times {max_per_s:.1f}/s: {answered:.1f}/s answered, "
            f"{rejected:.1f}/s rejected",
            flush=True,
        )
        return found

    def _load(self, service: Running, *more: str, requests: Path | None = None) -> Figures:
        return load(service, requests or self._requests, self.plan.seconds, self.plan.warm_up_s, *more)

    def _leave_out(self, label: str, reason: str) -> None:
        print(f"{label} {reason}", flush=True)
        self.absent[label] = reason


def main() -> None:
    """Run everything and write the results."""
    plan = QUICK if os.environ.get("QUICK") == "1" else FULL
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--rounds", type=int, default=plan.rounds)
    arguments.add_argument("--seconds", type=float, default=plan.seconds, help="of one measurement")
    arguments.add_argument("--only", nargs="+", help=f"labels beside {OURS}; all by default")
    arguments.add_argument(
        "--serve-flags",
        default=f"--workers {os.cpu_count()}",
        help="more flags for watchnext serve, in quotes; by default one process a core, as the peers have",
    )
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = arguments.parse_args()
    plan = replace(plan, rounds=given.rounds, seconds=given.seconds)
    wanted = [c for c in CONTENDERS if given.only is None or c.label in (OURS, *given.only)]
    report: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": machine(),
        "candidates": CANDIDATES,
        "connections": CONNECTIONS,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "timeout_ms": TIMEOUT_MS,
        "overload_times": OVERLOAD,
        "settings": {c.label: c.settings for c in wanted} | {OURS: f"`watchnext serve {given.serve_flags}`"},
        "sizes": {},
    }
    for experts in plan.sizes:
        with tempfile.TemporaryDirectory(prefix="ranking-") as folder:
            print(f"making the world, {experts} experts", flush=True)
            world = make_world(Path(folder), reference_spec(experts))
            write_resident(world)
            with private_server(world.home):
                comparison = Comparison(world, plan, wanted, shlex.split(given.serve_flags))
                comparison.install()
                first = not report["sizes"]
                report["sizes"][str(experts)] = comparison.run(under_load=first)
                if first:
                    report["growth"] = comparison.growth()
    given.out.mkdir(parents=True, exist_ok=True)
    write_whole(given.out / "ranking_speed.json", (json.dumps(report, indent=2) + "\n").encode())
    write_whole(given.out / "ranking_speed.md", markdown(report).encode())
    draw(report, given.out / "ranking_speed.png")
    print("\n" + markdown(report))


def _summary(rounds: list[Figures], ours: list[Figures]) -> Figures:
    """Compute medians over the rounds, the range of the throughput, and watchnext's relative throughput."""

    def median(name: str, measured: list[Figures]) -> float:
        return statistics.median(each[name] for each in measured)

    speeds = [each["requests_per_s"] for each in rounds]
    return {
        "requests_per_s": median("requests_per_s", rounds),
        "least": min(speeds),
        "most": max(speeds),
        "watchnext_is_faster_by": round(
            median("requests_per_s", ours) / max(statistics.median(speeds), 0.01), 2
        ),
        "p50_ms": median("p50_ms", rounds),
        "p99_ms": median("p99_ms", rounds),
        "failed_per_s": max(each["failed_per_s"] + each["rejected_per_s"] for each in rounds),
        "memory_mb": median("memory_mb", rounds),
        "others_cores": max(each["others_cores"] for each in rounds),
        "overlap": rounds[0]["overlap"],
        "largest_difference": rounds[0]["largest_difference"],
        "rounds": rounds,
    }


if __name__ == "__main__":
    main()
