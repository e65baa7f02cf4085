import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ranker.errors import FileError, LockedError
from ranker.files.lock import locked

HOLDER = """
import sys, time
from pathlib import Path
from ranker.files.lock import locked
with locked(Path(sys.argv[1]), "x"):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def holder(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds a lock until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_who_comes_second_is_told_who_holds_it_until_the_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    with holder(path) as process:
        said = rf"^the run: process {process.pid} on {socket.gethostname()} .* since \d{{4}}-.*UTC; wait"
        with pytest.raises(LockedError, match=said), locked(path, "the run"):
            pytest.fail("two hold it")
    assert path.exists()  # a killed holder cannot remove it, which keeps nobody out
    with locked(path, "the run"):
        pass
    assert not path.exists()


def test_who_waits_gets_it_when_the_holder_ends(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    with holder(path) as process:
        killer = threading.Timer(0.3, process.kill)
        killer.start()
        with locked(path, "the run", wait_s=60):
            assert process.wait(60) == -signal.SIGKILL
        killer.join()


def test_an_unsigned_lock_holds_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    with locked(path, "the run"):
        os.truncate(path, 0)
        with (
            pytest.raises(LockedError, match="the run: another process is writing it"),
            locked(path, "the run"),
        ):
            pytest.fail("two hold it")


def test_a_lock_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(FileError, match=r"none/run\.lock: "),
        locked(tmp_path / "none" / "run.lock", "the run"),
    ):
        pytest.fail("nobody can hold it")
