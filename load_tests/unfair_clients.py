"""What clients that ask for more than their share cost the others.

    python -m load_tests.unfair_clients [--checkout LABEL=FOLDER ...] [--seconds S] [--out FOLDER]

Serves the reference ranker (`ranking/reference.py`), with one process and without keys, and measures in turn

- the longest silence of the event loop over the worst bodies of at most 2 MB (`unfair/bodies.py`);
- two connections that send trailers without end after an early answer: silence, and growth of memory;
- 32 connections that send a head and no body: how long another client's ranking waits;
- a client with 10 candidates, 20 times a second, beside 32 connections with 1,000 candidates that ask again
  at once: the share of its requests that is answered within 250 ms;
- a client whose `timeout_ms` is 1, in a loop: what four other connections get done beside it;
- 10 times the maximum, evenly, with 250 ms to answer: what is answered in time.

Other checkouts of this repository can be measured in the same run, for comparison. The results are written to
unfair_clients.json and .md in the output folder; QUICK=1 has shorter loads, and writes only with --out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from load_tests.environment import ROOT
from load_tests.machine import machine
from load_tests.ranking.measure import Figures, MemoryWatch, load
from load_tests.ranking.process import Running, free_port, running
from load_tests.ranking.reference import reference_spec
from load_tests.ranking.world import CANDIDATES, World, make_world
from load_tests.unfair.attacks import HEADS, TRAILERS, endless_trailers, heads_without_bodies
from load_tests.unfair.bodies import worst_bodies
from load_tests.unfair.probe import Probe
from ranker.files.whole import write_whole
from ranker.private_redis.server import private_server

TIMEOUT_MS: Final = 250
OVERLOAD: Final = 10


class Service:
    """One running checkout.

    Args:
        service: It runs.
        world: What it ranks.
        seconds: How long each load lasts.
    """

    def __init__(self, service: Running, world: World, seconds: float) -> None:
        self._service, self._world, self._seconds = service, world, seconds

    def measure(self) -> Figures:
        """Take all figures."""
        figures: Figures = {"silence_ms": dict(self._silences())}
        figures["trailers"] = self._trailers()
        figures["heads_wait_s"] = self._heads()
        figures["small_in_time"] = self._small_beside_flood()
        figures |= self._impossible_timeouts()
        figures |= self._overload()
        return figures

    def _silences(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, body in worst_bodies():
            with self._probe() as probe:
                status, _ = self._service.ask(body)
            yield name, {"bytes": len(body), "status": status, "longest_ms": round(probe.longest_ms, 1)}

    def _trailers(self) -> Figures:
        before = self._service.memory_bytes()
        with (
            MemoryWatch(self._service) as memory,
            self._probe() as probe,
            endless_trailers(self._service.address, TRAILERS),
        ):
            time.sleep(self._seconds)
        growth = (memory.max_bytes - before) / 1e6
        return {"longest_ms": round(probe.longest_ms, 1), "growth_mb": round(growth, 1)}

    def _heads(self) -> float:
        with heads_without_bodies(self._service.address, HEADS):
            begun = time.perf_counter()
            while self._service.ask(self._body())[0] != 200:
                time.sleep(0.02)
            return round(time.perf_counter() - begun, 3)

    def _small_beside_flood(self) -> float:
        with self._client_beside(self._world.request_file(1000), "--connections", str(HEADS)):
            small = self._load(
                "--rate", "20", "--arrivals", "even", "--timeout-ms", str(TIMEOUT_MS), candidates=10
            )
        return round(small["requests_per_s"] / small["sent_per_s"], 3)

    def _impossible_timeouts(self) -> Figures:
        impossible = self._world.folder / "impossible.jsonl"
        bodies = ({**body, "timeout_ms": 1} for body in self._world.requests)
        impossible.write_text("".join(json.dumps(body) + "\n" for body in bodies))
        in_time = ["--connections", "4", "--timeout-ms", str(TIMEOUT_MS)]
        alone = self._load(*in_time)["requests_per_s"]
        with self._client_beside(impossible, "--connections", "1"):
            beside = self._load(*in_time)["requests_per_s"]
        return {"alone_per_s": alone, "beside_timeouts_of_1_ms_per_s": beside}

    def _overload(self) -> Figures:
        most = self._load("--connections", "4")["requests_per_s"]
        over = self._load(
            *("--rate", f"{OVERLOAD * most:.1f}", "--arrivals", "even", "--timeout-ms", str(TIMEOUT_MS))
        )
        return {"most_per_s": most, "goodput_per_s": over["requests_per_s"], "overload": over}

    def _load(self, *more: str, candidates: int = CANDIDATES) -> Figures:
        return load(self._service, self._world.request_file(candidates), self._seconds, 1.0, *more)

    def _body(self) -> bytes:
        return json.dumps(self._world.requests[0]).encode()

    def _probe(self) -> Probe:
        return Probe(*self._service.address)

    @contextmanager
    def _client_beside(self, requests: Path, *more: str) -> Iterator[None]:
        """Another client, for longer than the measurement takes."""
        out = self._world.folder / "beside.json"
        client = [sys.executable, "-m", "load_tests.ranking.client", "--url", self._service.url, *more]
        times = ["--warm-up", "0", "--seconds", str(self._seconds + 600)]
        with subprocess.Popen([*client, *times, "--requests", requests, "--out", out], cwd=ROOT) as process:
            try:
                time.sleep(1)
                yield
            finally:
                process.kill()


def markdown(report: dict[str, Any]) -> str:
    """Write the tables."""
    found: dict[str, Figures] = report["checkouts"]
    labels = list(found)

    def row(name: str, value: Callable[[Figures], object]) -> str:
        return f"| {name} | " + " | ".join(str(value(found[label])) for label in labels) + " |"

    lines = [
        "# Unfair clients",
        "",
        f"{report['when']}, {report['machine']['cpu']}, {report['machine']['cores']} cores, which the "
        f"clients share with the service; {report['seconds']:.0f} s a load.",
        "",
        "| | " + " | ".join(labels) + " |",
        "| --- |" + " --- |" * len(labels),
        row(
            "longest silence over all bodies, ms",
            lambda f: max(each["longest_ms"] for each in f["silence_ms"].values()),
        ),
        row("two endless trailers: longest silence, ms", lambda f: f["trailers"]["longest_ms"]),
        row("two endless trailers: growth of memory, MB", lambda f: f["trailers"]["growth_mb"]),
        row(f"{HEADS} heads without bodies: another client waits, s", lambda f: f["heads_wait_s"]),
        row("10 candidates beside a flood of 1,000: share in time", lambda f: f["small_in_time"]),
        row("four connections alone, in time a second", lambda f: f["alone_per_s"]),
        row("beside a loop of `timeout_ms: 1`", lambda f: f["beside_timeouts_of_1_ms_per_s"]),
        row("four connections, the maximum a second", lambda f: f["most_per_s"]),
        row(f"at {OVERLOAD} times the maximum, in time a second", lambda f: f["goodput_per_s"]),
        "",
        "Longest silence by body, in ms (status of the answer):",
        "",
        "| | " + " | ".join(labels) + " |",
        "| --- |" + " --- |" * len(labels),
    ]
    for name in found[labels[0]]["silence_ms"]:
        of_all = [found[label]["silence_ms"][name] for label in labels]
        cells = [f"{each['longest_ms']} ({each['status']})" for each in of_all]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every checkout, and write the results."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--checkout", action="append", default=[], metavar="LABEL=FOLDER")
    quick = os.environ.get("QUICK") == "1"
    arguments.add_argument("--seconds", type=float, default=3 if quick else 10)
    arguments.add_argument("--out", type=Path, default=None if quick else Path(__file__).parent / "results")
    given = arguments.parse_args()
    checkouts = dict(each.split("=", 1) for each in given.checkout) | {"this": str(ROOT)}
    report: dict[str, Any] = {"when": datetime.now(UTC).isoformat(timespec="minutes"), "machine": machine()}
    report |= {"seconds": given.seconds, "checkouts": {}}
    with tempfile.TemporaryDirectory(prefix="unfair-") as folder:
        world = make_world(Path(folder), reference_spec(8))
        with private_server(world.home) as url:
            for label, checkout in checkouts.items():
                port = free_port()
                # the command, and not `python -m`, which would prefer the working directory's modules
                command = [Path(sys.executable).with_name("watchnext"), "serve", "--port", str(port)]
                command += ["--registry", world.registry, "--redis-url", url]
                log = Path(folder) / f"{label}.log"
                first = json.dumps(world.requests[0]).encode()
                with running(command, port, {"PYTHONPATH": checkout}, log, first) as service:
                    report["checkouts"][label] = Service(service, world, given.seconds).measure()
                print(label, json.dumps(report["checkouts"][label]), flush=True)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write_whole(given.out / "unfair_clients.json", (json.dumps(report, indent=2) + "\n").encode())
        write_whole(given.out / "unfair_clients.md", markdown(report).encode())
    print("\n" + markdown(report))


if __name__ == "__main__":
    main()
