"""A trainer that follows a log of events, killed again and again while it grows, ends like one never killed.

For more kills than the default: KILLS=20 in the environment of pytest; `pytest -rP` shows what was found.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import redis

from ranker.bundles.registry import Registry
from ranker.private_redis.server import private_server
from ranker.spec_file import dump_spec
from ranker.store.connection import connect
from ranker.stream.event_log import BEGINNING, Entry
from ranker.stream.redis_event_log import RedisEventLog
from tests.training.live_log import LIVE_SPEC, joined_by_search, random_log, write
from training.run import CHECKPOINT_FILE

SECONDS_A_KILL = 4.0
"""How long the log grows for each kill: a trainer needs some of it to start."""
WAIT_MS = 5_000
TIMEOUT_S = 120


@contextlib.contextmanager
def following(folder: Path, url: str, *, checkpoint_every: str) -> Iterator[subprocess.Popen[str]]:
    command = [
        sys.executable,
        "-m",
        "watchnext",
        "train",
        "--follow",
        "--spec",
        str(folder.parent / "spec.yaml"),
    ]
    command += ["--registry", str(folder), "--redis-url", url, "--wait", "5s", "--json"]
    command += ["--learn-every", "1s", "--publish-every", "3s", "--checkpoint-every", checkpoint_every]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def checkpoint_of(folder: Path) -> dict[str, object]:
    """Everything in the checkpoint: rows, offset, and the digest of all tensors and the rest."""
    path = folder / "runs" / "small" / CHECKPOINT_FILE
    if not path.exists():
        return {"rows": 0}
    content = path.read_bytes()  # at once: it may be replaced meanwhile
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    return {**json.loads(metadata["reached"]), "digest": metadata["digest"]}


def grow(client: redis.Redis, entries: list[Entry], seconds: float) -> None:
    """Append the entries at an even pace: they get other ids, at which the log's clock is."""
    began = time.monotonic()
    log = RedisEventLog(client)
    for number, entry in enumerate(entries):
        time.sleep(max(0.0, began + seconds * number / len(entries) - time.monotonic()))
        log.append(entry.kind, entry.data)


def written(client: redis.Redis) -> list[Entry]:
    """The log as it is in Redis."""
    return RedisEventLog(client).read(BEGINNING, count=10**6)


def test_a_trainer_killed_at_random_ends_bit_by_bit_like_one_never_killed(tmp_path: Path) -> None:
    kills = int(os.environ.get("KILLS", "2"))
    draw = random.Random(0)
    (tmp_path / "spec.yaml").write_text(dump_spec(LIVE_SPEC))
    entries = random_log(150 * kills, seed=9)
    killed_at = []
    with private_server(tmp_path / "home") as url, connect(url) as client:
        write(client, [])
        growing = threading.Thread(target=grow, args=(client, entries, SECONDS_A_KILL * kills))
        growing.start()
        for _ in range(kills):
            with following(tmp_path / "killed", url, checkpoint_every="100ms") as process:
                seen, deadline = checkpoint_of(tmp_path / "killed")["rows"], time.monotonic() + TIMEOUT_S
                while checkpoint_of(tmp_path / "killed")["rows"] == seen:
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                time.sleep(draw.uniform(0, 0.5))
                process.send_signal(signal.SIGKILL)
                assert process.wait(TIMEOUT_S) == -signal.SIGKILL
            killed_at.append(checkpoint_of(tmp_path / "killed")["rows"])
        growing.join()
        expected = joined_by_search(written(client))
        for name in ("killed", "whole"):
            with following(tmp_path / name, url, checkpoint_every="0s") as process:
                deadline = time.monotonic() + TIMEOUT_S
                while checkpoint_of(tmp_path / name)["rows"] != len(expected):
                    assert process.poll() is None
                    assert time.monotonic() < deadline, checkpoint_of(tmp_path / name)
                    time.sleep(0.02)
                process.send_signal(signal.SIGTERM)
                out, _ = process.communicate(timeout=TIMEOUT_S)
                assert process.returncode == 0
                assert json.loads(out)["rows"] == len(expected)

    sys.stdout.write(f"{kills} times SIGKILL, with checkpoints of these rows on the disk: {killed_at}\n")
    assert checkpoint_of(tmp_path / "killed") == checkpoint_of(tmp_path / "whole")
    metrics = [pq.read_table(tmp_path / n / "runs/small/metrics.parquet") for n in ("killed", "whole")]
    assert metrics[0].equals(metrics[1])
    registries = [Registry(str(tmp_path / name)) for name in ("killed", "whole")]
    assert registries[0].versions() == registries[1].versions()
    assert registries[0].current() == registries[1].current()
    assert len(registries[0].versions()) > 2
