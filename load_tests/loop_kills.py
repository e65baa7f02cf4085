"""The live loop under SIGKILLs: whatever is killed, nothing acknowledged is lost, nothing learned twice.

`python -m load_tests.loop_kills [--kills 200]` runs a private Redis, two services, a trainer that follows the
log of events, and its archive. Viewers ask for rankings and answer, some late, some twice. Meanwhile the five
are killed in random order and started again. At the end, what viewers were told is looked for in the log, the
examples of the archive and of the trainer are counted, and the weights are compared, bit for bit, with those
of a trainer that learns a copy of the log undisturbed.

The results are written to loop_kills.json in the output folder; the exit status is 1 if a promise was broken.
QUICK=1 kills ten times and writes nothing unless --out is given.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from examples.made_up_log import write_log
from load_tests.environment import ROOT
from load_tests.kills.checks import Recorder, archived, copy_log, different_tensors, examples, lost
from load_tests.kills.processes import Process, Victim, answers, free_port, kill_redis
from load_tests.kills.viewers import Told, Viewer
from load_tests.machine import machine
from ranker.bundles.registry import Registry
from ranker.errors import RegistryError
from ranker.files.whole import write_whole
from ranker.private_redis.server import private_server
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec
from ranker.store.connection import connect
from training.api import train
from training.patient_client import patient_client

RESULTS: Final = Path(__file__).parent / "results"
VIEWERS: Final = 3
WAIT_S: Final = 2.0
ROWS_PER_FILE: Final = 100
INTERVAL_S: Final = 3.0
"""Between two kills, on average."""
REDIS_SETTLES_S: Final = 3.0
"""How long after Redis is back services may still take it for away."""
END_S: Final = 120.0
FIRST_UNTIL_MS: Final = 1_777_593_600_000 + 6 * 3_600_000
ZERO: Final = (
    "entries out of order",
    "acknowledged impressions lost",
    "acknowledged events lost",
    "rows archived twice",
    "rows archived that are no examples",
    "rows skipped by the archive",
    "examples never learned",
    "examples learned twice",
    "tensors that are not those of the undisturbed run",
    "requests failed though nothing that they need was killed",
)


class Loop:
    """All processes of the loop in one folder.

    Args:
        folder: For their data.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.registry = folder / "home", folder / "registry"
        self.yaml = folder / "feed.yaml"
        text = (ROOT / "examples" / "my_feed.yaml").read_text()
        waits = text.replace("label_wait: 1m", "label_wait: 1s").replace("label_wait: 10m", "label_wait: 2s")
        self.yaml.write_text(waits.replace("unit: s,", "unit: s, several: sum,"))
        self.spec: RankerSpec = load_spec(str(self.yaml))
        self.trainer = Process(self.follow(self.home, self.registry), folder / "train.log")
        where = ["--spec", str(self.yaml), "--home", str(self.home), "--wait", f"{WAIT_S:.0f}s"]
        archive = ["events", "archive", *where, "--out", str(folder / "archive")]
        self.archive = Process([*archive, "--rows-per-file", str(ROWS_PER_FILE)], folder / "archive.log")
        self.ports = [free_port(), free_port()]
        serve = ["serve", "--registry", str(self.registry), "--home", str(self.home), "--impressions", "sync"]
        self.services = [
            Process([*serve, "--live-features", "--port", str(port)], folder / f"serve-{number}.log")
            for number, port in enumerate(self.ports)
        ]

    def follow(self, home: Path, registry: Path) -> list[str]:
        """The command of a trainer."""
        return [
            *(
                "train",
                "--follow",
                "--spec",
                str(self.yaml),
                "--home",
                str(home),
                "--registry",
                str(registry),
            ),
            *("--wait", f"{WAIT_S:.0f}s", "--learn-every", "1s"),
            *("--publish-every", "10s", "--checkpoint-every", "2s"),
        ]

    def first_bundle(self) -> None:
        """Publish what ranks at first."""
        write_log(self.folder / "log")
        train(self.spec, self.folder / "log", self.folder / "first", until_ms=FIRST_UNTIL_MS)
        shutil.copytree(self.folder / "first", self.registry, ignore=shutil.ignore_patterns("runs"))

    def victims(self, url: str) -> list[Victim]:
        """All that can be killed; Redis is the first."""

        def redis_answers() -> bool:
            try:
                with connect(url):
                    return True
            except Exception:
                return False

        server = Victim("redis", partial(kill_redis, self.home), redis_answers, settles_s=REDIS_SETTLES_S)
        services = [
            Victim(f"service {number}", process.kill, partial(answers, port), process.start, settles_s=1.0)
            for number, (process, port) in enumerate(zip(self.services, self.ports, strict=True))
        ]
        others = [
            Victim(name, process.kill, process.is_running, process.start)
            for name, process in (("trainer", self.trainer), ("archive", self.archive))
        ]
        return [server, *services, *others]


def killed(victims: list[Victim], kills: int, seed: int) -> None:
    """Kill in random order, all about as often."""
    draw = random.Random(seed)
    left = [victims[number % len(victims)] for number in range(kills)]
    draw.shuffle(left)
    while left:
        victim = next((one for one in left if one.is_up()), None)
        if victim is not None:
            left.remove(victim)
            victim.kill()
            print(f"killed {victim.name}; {kills - len(left)} of {kills}", flush=True)
        time.sleep(draw.uniform(0.1, 2 * INTERVAL_S))


def rows_of(registry: Path) -> int:
    """Rows that the newest bundle has learned from."""
    found = Registry(str(registry))
    try:
        return found.manifest(found.current()).rows
    except RegistryError:  # there is none yet
        return 0


def learned(registry: Path, expected: int) -> int:
    """Wait until so many rows were learned, for a bounded time; return how many were."""
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline and rows_of(registry) != expected:
        time.sleep(0.2)
    return rows_of(registry)


def run(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Run the loop, kill, and count."""
    loop, told = Loop(folder), Told()
    loop.first_bundle()
    finished, recorded = threading.Event(), threading.Event()
    with ExitStack() as stack:
        url = stack.enter_context(private_server(loop.home))
        client = stack.enter_context(patient_client(url))
        recorder = Recorder(client, recorded)
        recorder.start()
        victims = loop.victims(url)
        processes = [loop.trainer, loop.archive, *loop.services]
        for process in processes:
            stack.callback(process.kill)
            process.start()
        for victim in victims:
            victim.wait()
        services = list(zip(loop.ports, victims[1:3], strict=True))
        viewers = [Viewer(number, services, victims[0], told, finished) for number in range(VIEWERS)]
        began = time.monotonic()
        for viewer in viewers:
            viewer.start()
        time.sleep(INTERVAL_S)
        killed(victims, kills, seed)
        while not all(victim.is_up() for victim in victims):
            time.sleep(0.1)
        time.sleep(INTERVAL_S)
        finished.set()
        for viewer in viewers:
            viewer.join(END_S)
        seconds = time.monotonic() - began
        time.sleep(2 * WAIT_S)
        recorded.set()
        recorder.join(END_S)
        expected = examples(recorder.entries, loop.spec, WAIT_S)
        rows = learned(loop.registry, len(expected))
        statuses = [process.stop() for process in processes]
        with private_server(folder / "calm") as calm_url, connect(calm_url) as calm:
            copy_log(recorder.entries, loop.spec, client, calm)
            undisturbed = Process(loop.follow(folder / "calm", folder / "undisturbed"), folder / "calm.log")
            undisturbed.start()
            calm_rows = learned(folder / "undisturbed", len(expected))
            statuses.append(undisturbed.stop())
    checkpoints = [
        each / "runs" / loop.spec.name / "checkpoint.safetensors"
        for each in (loop.registry, folder / "undisturbed")
    ]
    different = different_tensors(*checkpoints)
    return {
        "seconds": round(seconds, 1),
        "kills": {victim.name: victim.kills for victim in victims},
        "answers": dict(told.counts),
        **lost(recorder.entries, told),
        "examples": len(expected),
        "examples learned": rows,
        "examples learned by the undisturbed run": calm_rows,
        "examples never learned": max(0, len(expected) - rows),
        "examples learned twice": max(0, rows - len(expected)),
        **archived(folder / "archive", expected),
        "tensors that are not those of the undisturbed run": len(different),
        "different tensors": different[:20],
        "requests failed though nothing that they need was killed": len(told.failed),
        "failures": told.failed[:20],
        "exit statuses at the end": statuses,
    }


def main() -> None:
    """Run, and print and write the results."""
    quick = os.environ.get("QUICK") == "1"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=10 if quick else 200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--keep", type=Path, help="Folder to keep all data in, for a look at what went wrong."
    )
    parser.add_argument("--out", type=Path, default=None if quick else RESULTS, help="Where results go.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="watchnext-kills-") as name:
        folder = given.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        report = {"machine": machine(), **run(folder, given.kills, given.seed)}
    print(json.dumps(report, indent=2))
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write_whole(given.out / "loop_kills.json", (json.dumps(report, indent=2) + "\n").encode())
    if any(report[name] for name in ZERO) or any(report["exit statuses at the end"]):
        sys.exit("a promise was broken")


if __name__ == "__main__":
    main()
