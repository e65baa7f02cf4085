"""A running service under steady load while everything around it changes.

    python -m load_tests.soak [--minutes M] [--share S]

It takes an hour by default, ten minutes in CI (`--minutes 10`), and less than five with QUICK=1. The load is
half of the service's maximum. Meanwhile there are 21 hot swaps and five newer feature states, Redis is
killed, hangs and loses its data, a damaged bundle is made current, the registry hangs, records are written
singly and in bulk, deleted and damaged, and clients ask for more than their share. Everything happens once in
the first half; memory must not grow after that. The results are written to soak.json, .md and .png in the
output folder; the exit status is 1 if a promise was broken.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from load_tests.environment import ROOT
from load_tests.machine import machine
from load_tests.ranking.measure import load
from load_tests.ranking.process import Running, free_port, running
from load_tests.ranking.reference import reference_spec
from load_tests.ranking.world import CANDIDATES, make_world
from load_tests.soaking.bundles import publish_other_records, varied
from load_tests.soaking.events import Stage, ranked
from load_tests.soaking.figures import Answers, broken, figures
from load_tests.soaking.redis_server import RedisServer
from load_tests.soaking.report import draw, markdown
from load_tests.soaking.stream import Stream
from load_tests.soaking.verify import verify
from ranker.bundles.registry import Registry
from ranker.files.whole import write_whole

MINUTES, QUICK_MINUTES = 60.0, 2.25
BUNDLES: Final = 3
"""Number of bundles with other weights than the first one."""
CONNECTIONS: Final = 4
MEMORY_READINGS: Final = 180
"""Minimum number of readings of the memory, which are at most ten seconds apart."""
VERIFIED_EVERY: Final = 50


def soak(folder: Path, minutes: float, share: float, measure_s: float) -> dict[str, Any]:
    """Run everything in an empty folder.

    Args:
        folder: Folder for the world, the registry, the data of Redis and the log.
        minutes: Length of the load.
        share: Rate of the load, as a share of the service's maximum.
        measure_s: Seconds in which the maximum is measured.

    Returns:
        The report as a JSON object.
    """
    print("making the world and its bundles", flush=True)
    world = make_world(folder / "world", reference_spec(8, learning=True))
    stream = Stream(world, folder / "stream")
    first = Registry(str(world.registry)).current()
    other_spec = folder / "other.yaml"
    other = publish_other_records(world, other_spec)
    Registry(str(world.registry)).make_current(first)
    *fresh, damaged = [varied(world, seed) for seed in range(1, BUNDLES + 2)]
    store = RedisServer(folder / "redis", free_port())
    store.start()
    port, requests = free_port(), stream.write_requests(folder / "requests.jsonl")
    serve = [sys.executable, "-m", "watchnext", "serve", "--registry", str(world.registry)]
    serve += ["--redis-url", store.url, "--port", str(port)]
    body, log = requests.read_bytes().partition(b"\n")[0], folder / "serve.log"
    specs = (world.folder / "spec.yaml", other_spec)
    stage = Stage(world, stream, specs, store, first, other, fresh, damaged)
    try:
        stage.load_features()
        with running(serve, port, {}, log, body) as service:
            max_per_s = load(service, requests, measure_s, 2, "--connections", str(CONNECTIONS))[
                "requests_per_s"
            ]
            rate, seconds = share * max_per_s, minutes * 60
            print(f"{max_per_s:.1f} requests/s at most; {rate:.1f} for {seconds:.0f} s", flush=True)
            start, memory = _under_load(stage, service, requests, rate, seconds)
        answers = Answers.read(folder / "answers.jsonl")
        good = {first, other, *(version for version, _ in fresh)}
        print(f"{len(answers.due):,} answers; recomputing some", flush=True)
        verified = verify(world, stream, folder / "sample.jsonl", good, ranked(stage.events))
        if damaged[0] + " is refused" not in log.read_text():
            stage.events[-1].failed = "the service never refused the damaged bundle"
        found = figures(answers, stage.events, memory, stage.writes, verified, good, start)
    finally:
        store.kill()
    return {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": machine(),
        "candidates": CANDIDATES,
        "most_per_s": max_per_s,
        "rate_per_s": round(rate, 2),
        "share_of_most": share,
        **found,
    }


def _under_load(
    stage: Stage, service: Running, requests: Path, rate: float, seconds: float
) -> tuple[float, list[tuple[float, int]]]:
    """Play all events while the client sends requests.

    Returns:
        `monotonic()` at the start, and readings of the memory, each with `monotonic()` and bytes.
    """
    times = ["--rate", f"{rate:.3f}", "--every", str(VERIFIED_EVERY)]
    command = [sys.executable, "-m", "load_tests.soaking.client", "--url", service.url, *times]
    over = threading.Event()
    memory: list[tuple[float, int]] = []

    def watch() -> None:
        while not over.wait(min(10.0, seconds / MEMORY_READINGS)):
            memory.append((time.monotonic(), service.memory_bytes()))

    client = subprocess.Popen([*command, "--requests", requests, "--out", requests.parent], cwd=ROOT)
    start = time.monotonic()
    beside = [
        threading.Thread(target=watch),
        threading.Thread(target=stage.keep_writing, args=[service, over]),
    ]
    for thread in beside:
        thread.start()
    try:
        stage.play(service, start, seconds)
        time.sleep(max(0.0, start + seconds - time.monotonic()))
        client.terminate()
        if client.wait():
            raise subprocess.CalledProcessError(client.returncode, command)
    finally:
        over.set()
        client.kill()
        for thread in beside:
            thread.join()
    return start, memory


def main() -> None:
    """Run the soak, write the results, and exit with 1 if a promise was broken."""
    quick = os.environ.get("QUICK") == "1"
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--minutes", type=float, default=QUICK_MINUTES if quick else MINUTES)
    arguments.add_argument(
        "--share", type=float, default=0.5, help="rate, as a share of the service's maximum"
    )
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        report = soak(Path(folder), given.minutes, given.share, measure_s=5 if quick else 20)
    wrong = broken(report)
    given.out.mkdir(parents=True, exist_ok=True)
    page = markdown(report, wrong)
    write_whole(given.out / "soak.json", (json.dumps(report, indent=1) + "\n").encode())
    write_whole(given.out / "soak.md", page.encode())
    draw(report, given.out / "soak.png")
    print("\n" + page)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
