"""Measurements of one running service."""

import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray

from load_tests.environment import ROOT
from load_tests.ranking.process import Running
from load_tests.ranking.reference import reference_spec
from load_tests.ranking.world import LIMIT, World

QUANTILES: Final = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9)
Figures = dict[str, Any]


def load(service: Running, requests: Path, seconds: float, warm_up_s: float, *more: str) -> Figures:
    """Let the client ask; the further arguments are the client's.

    Returns:
        Requests a second that were answered in time, latencies, what became of the others, and how many cores
        were taken by whoever is neither the service nor the client.
    """
    before, start = _used_by_others_s(service), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tally.json"
        times = ["--seconds", str(seconds), "--warm-up", str(warm_up_s)]
        client = [sys.executable, "-m", "load_tests.ranking.client", "--url", service.url, *times, *more]
        subprocess.run([*client, "--requests", requests, "--out", out], cwd=ROOT, check=True)
        tally: Figures = json.loads(out.read_text())
    others = (_used_by_others_s(service) - before) / (time.perf_counter() - start)
    answered, rejected = np.array(tally.pop("answered_ms")), np.array(tally.pop("rejected_ms"))
    quantiles = dict(zip(map(str, QUANTILES), _percentiles(answered, QUANTILES), strict=True))
    return {
        "requests_per_s": round(len(answered) / tally["seconds"], 2),
        "p50_ms": quantiles["50"],
        "p99_ms": quantiles["99"],
        "quantiles_ms": quantiles,
        "sent_per_s": round(tally["sent"] / tally["seconds"], 2),
        "rejected_per_s": round(len(rejected) / tally["seconds"], 2),
        "rejected_p99_ms": _percentiles(rejected, (99,))[0],
        "late_per_s": round(tally["late"] / tally["seconds"], 2),
        "failed_per_s": round(tally["failed"] / tally["seconds"], 2),
        "client_cores": round(tally["client_cores"], 3),
        "client_lag_ms": round(tally["lag_ms"], 2),
        "others_cores": round(max(others, 0.0), 3),
    }


def agreement(service: Running, world: World, expected: NDArray[np.float64]) -> Figures:
    """Compare a service's answers with what the bundle itself predicts in float32.

    Args:
        service: The service.
        world: Its first requests are asked.
        expected: (requests, candidates, tasks), the bundle's predictions for them.

    Returns:
        The mean overlap of the best 20 and the largest difference of a probability among them.
    """
    spec = reference_spec(experts=8)  # tasks and score are the same with 4
    policy = spec.score_policies().default
    tasks = [task.name for task in spec.tasks]
    binary = [place for place, task in enumerate(spec.tasks) if task.kind == "binary"]
    overlaps, difference = [], 0.0
    for body, predictions in zip(world.requests, expected, strict=False):
        status, answer = service.ask(json.dumps(body).encode())
        if status != 200:
            raise ValueError(f"expected status 200, found {status}: {answer[:200]!r}")
        items = json.loads(answer)["items"]
        place = {candidate["id"]: index for index, candidate in enumerate(body["candidates"])}
        found = [place[item["id"]] for item in items]
        best = policy.score(predictions).best(LIMIT)
        overlaps.append(len(set(best.tolist()) & set(found)) / LIMIT)
        given = np.array([[item["predictions"][task] for task in tasks] for item in items])
        difference = max(difference, np.abs(given - predictions[found])[:, binary].max())
    return {"overlap": round(float(np.mean(overlaps)), 4), "largest_difference": float(f"{difference:.2g}")}


class MemoryWatch:
    """The most memory that a service held while the context lasted."""

    def __init__(self, service: Running, every_s: float = 0.25) -> None:
        self._service, self._every_s = service, every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most_bytes = 0

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(self._every_s):
            self.most_bytes = max(self.most_bytes, self._service.memory_bytes())


def _used_by_others_s(service: Running) -> float:
    """Processor time since the machine started that neither the service nor our clients used."""
    busy, children = psutil.cpu_times(), resource.getrusage(resource.RUSAGE_CHILDREN)
    total = (
        busy.user
        + busy.nice
        + busy.system
        + sum(getattr(busy, kind, 0.0) for kind in ("irq", "softirq", "steal"))
    )
    return total - service.cpu_s() - children.ru_utime - children.ru_stime


def _percentiles(values: NDArray[np.float64], wanted: tuple[float, ...]) -> list[float | None]:
    if not len(values):
        return [None] * len(wanted)
    return [round(float(value), 3) for value in np.percentile(values, wanted)]
