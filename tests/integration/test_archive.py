"""An archive that is killed again and again has the files of one that never was."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ranker.private_redis.server import private_server
from ranker.spec_file import dump_spec
from ranker.store.connection import connect
from ranker.stream.redis_event_log import RedisEventLog
from tests.training.live_log import LIVE_SPEC, joined_by_search, random_log, write
from training.archive import ArchiveConfig, archive
from training.sources.parquet import ParquetSource

TIMEOUT_S = 120


@contextlib.contextmanager
def archiving(folder: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "watchnext", "events", "archive", "--out", str(folder)]
    command += ["--spec", str(folder.parent / "spec.yaml"), "--redis-url", url]
    command += ["--wait", "5s", "--rows-per-file", "3"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.parquet")}


def idle() -> Callable[[], bool]:
    """Stops a reader that has read a small log."""
    asked = iter(range(10))
    return lambda: next(asked, None) is None


def wait_for(folder: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until an archive has so many files."""
    deadline = time.monotonic() + TIMEOUT_S
    while len(list(folder.rglob("*.parquet"))) < count:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_an_archive_killed_at_random_has_the_files_of_one_never_killed(tmp_path: Path) -> None:
    kills = int(os.environ.get("KILLS", "2"))
    draw = random.Random(0)
    (tmp_path / "spec.yaml").write_text(dump_spec(LIVE_SPEC))
    entries = random_log(300, seed=11, pause_ms=60_000)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with private_server(tmp_path / "home") as url, connect(url) as client:
        write(client, entries)
        RedisEventLog(client).reached("another reader", entries[0].id)  # so that both find the whole log
        archive(ArchiveConfig(LIVE_SPEC, client, whole, 5.0, 3), stop=idle())
        expected = files(whole)
        assert len(expected) > 100
        counts = sorted(draw.sample(range(1, len(expected)), kills))
        for count in counts:
            with archiving(killed, url) as process:
                wait_for(killed, count, process)
                time.sleep(draw.uniform(0, 0.02))
                process.send_signal(signal.SIGKILL)
                process.wait(TIMEOUT_S)
        with archiving(killed, url) as process:
            wait_for(killed, len(expected), process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT_S) == 0
        assert files(killed) == expected
    rows = sum(batch.num_rows for batch in ParquetSource(str(whole)).records(1000))
    assert rows == len(joined_by_search(entries))
