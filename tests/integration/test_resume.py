"""A run that is killed again and again ends like one that never was.

For more kills than the default: `python -m tests.integration.test_resume --kills 20`, or KILLS=20 in the
environment of pytest; `pytest -rP` shows what was found.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from safetensors import safe_open

from ranker.bundles.bundle import MODEL
from ranker.bundles.manifest import sha256
from ranker.spec_file import dump_spec, load_spec
from training.report import METRICS_FILE
from training.run import CHECKPOINT_FILE
from training.sources.simulated.population import PAGE, WorldConfig
from training.sources.simulated.write import write_simulation

CHECKPOINT_ROWS = 512
MOST_CHECKPOINTS = 2
"""How far a run comes between two kills, at most: it decides how long the log must be."""
POLL_S = 0.001
PAUSE_S = 0.05
TIMEOUT_S = 120


@dataclass(frozen=True)
class Outcome:
    """What was found: rows of the checkpoint at each kill, and the files of the two bundles by name."""

    killed_after_rows: list[int]
    whole: dict[str, str]
    resumed: dict[str, str]

    def lines(self) -> Iterator[str]:
        yield f"{len(self.killed_after_rows)} times SIGKILL, with checkpoints of these rows on the disk:"
        yield " ".join(map(str, self.killed_after_rows))
        for name in self.whole:
            yield f"{name}: never stopped {self.whole[name]}, resumed {self.resumed.get(name)}"


def kill_and_compare(folder: Path, kills: int, seed: int = 0) -> Outcome:
    """Train once in one go, and once with kills and resumptions; each run is a process of its own."""
    requests = (kills + 2) * (MOST_CHECKPOINTS + 1) * CHECKPOINT_ROWS // PAGE
    world = WorldConfig(
        viewers=60, authors=10, uploads_per_day=30, catalogue_days=2, requests_per_day=requests
    )
    write_simulation(folder / "log", days=1, seed=1, config=world)
    document = yaml.safe_load(dump_spec(load_spec("simulated")))
    document["network"] |= {"shared": [32], "experts": 4, "expert": [16], "tower": [8]}
    document["training"] |= {"batch_size": 64, "checkpoint_rows": CHECKPOINT_ROWS, "metrics_window_s": 3600}
    (folder / "spec.yaml").write_text(yaml.safe_dump(document))

    with _training(folder, "whole") as process:
        assert process.wait(TIMEOUT_S) == 0
    draw = random.Random(seed)
    killed_after_rows = [_kill_once(folder, draw) for _ in range(kills)]
    with _training(folder, "resumed") as process:
        assert process.wait(TIMEOUT_S) == 0
    return Outcome(killed_after_rows, _bundle(folder / "whole"), _bundle(folder / "resumed"))


@contextlib.contextmanager
def _training(folder: Path, registry: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "watchnext", "train", "--spec", str(folder / "spec.yaml")]
    command += ["--data", str(folder / "log"), "--registry", str(folder / registry), "--resume"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def _kill_once(folder: Path, draw: random.Random) -> int:
    """Resume, and kill some time after a checkpoint was written; return the rows of the last one."""
    run = folder / "resumed" / "runs" / "simulated"
    checkpoint = run / CHECKPOINT_FILE
    left, pause_s = draw.randint(0, MOST_CHECKPOINTS), draw.uniform(0, PAUSE_S)
    seen = _inode(checkpoint)
    with _training(folder, "resumed") as process:
        deadline = time.monotonic() + TIMEOUT_S
        while left or not run.exists():
            assert process.poll() is None, "the run ended before it was killed: the log is too short"
            assert time.monotonic() < deadline
            if (now := _inode(checkpoint)) != seen:
                seen, left = now, left - 1
            time.sleep(POLL_S)
        time.sleep(pause_s)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL, "the run ended before it was killed: the log is too short"
    if not checkpoint.exists():
        return 0
    with safe_open(checkpoint, framework="pt") as file:
        return int(json.loads(file.metadata()["reached"])["rows"])


def _inode(path: Path) -> int | None:
    """Another file of the same name has another one."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _bundle(registry: Path) -> dict[str, str]:
    """sha256 of a registry's only bundle, file by file, without the time at which it was made."""
    (folder,) = (registry / "bundles").iterdir()
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    manifest = json.loads(files["manifest.json"])
    del manifest["created_ms"], manifest["digest"]
    files["manifest.json"] = json.dumps(manifest).encode()
    windows = pq.read_table(registry / "runs" / "simulated" / METRICS_FILE)
    files[METRICS_FILE] = json.dumps(windows.to_pylist()).encode()
    return {name: sha256(content) for name, content in files.items()}


def test_a_run_killed_at_random_points_publishes_the_bundle_of_one_never_stopped(tmp_path: Path) -> None:
    kills = int(os.environ.get("KILLS", "5"))
    outcome = kill_and_compare(tmp_path, kills)
    sys.stdout.write("\n".join([*outcome.lines(), ""]))

    assert len(outcome.killed_after_rows) == kills
    assert outcome.killed_after_rows == sorted(outcome.killed_after_rows)
    assert outcome.killed_after_rows[-1] > 0
    assert MODEL in outcome.whole
    assert outcome.resumed == outcome.whole


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = kill_and_compare(Path(temporary), arguments.kills, arguments.seed)
    sys.stdout.write(
        "\n".join([*found.lines(), "the same" if found.whole == found.resumed else "DIFFERENT", ""])
    )
    sys.exit(found.whole != found.resumed)
