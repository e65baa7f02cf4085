"""The processes of the live loop, each of which is killed now and then and started again."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

START_S: Final = 120.0
POLL_S: Final = 0.05


class Victim:
    """Something that can be killed.

    Args:
        name: For the report.
        settles_s: How long after it is back what others do may still fail because of it.
        kill: Kills it.
        ready: Whether it is there, and works.
        start: Starts it after a kill; something else does by default.

    Attributes:
        kills: How often it was killed.
    """

    def __init__(
        self,
        name: str,
        kill: Callable[[], None],
        ready: Callable[[], bool],
        start: Callable[[], None] = lambda: None,
        settles_s: float = 0.0,
    ) -> None:
        self.name = name
        self.kills = 0
        self._kill = kill
        self._ready = ready
        self._start = start
        self._settles_s = settles_s
        self._down: list[tuple[float, float]] = []  # from a kill until all is well again

    def is_up(self) -> bool:
        """Whether it works, as far as is known."""
        return not self._down or self._down[-1][1] < time.monotonic()

    def kill(self) -> None:
        """Kill it, and start it again in the background."""
        self._down.append((time.monotonic(), float("inf")))
        self._kill()
        self.kills += 1
        threading.Thread(target=self._come_back, daemon=True).start()

    def was_down(self, since: float, until: float) -> bool:
        """Whether it was down at some time, by `time.monotonic()`."""
        return any(begin <= until and end >= since for begin, end in list(self._down))

    def wait(self) -> None:
        """Wait until it works.

        Raises:
            TimeoutError: It does not for long.
        """
        deadline = time.monotonic() + START_S
        while not self._ready():
            if time.monotonic() > deadline:
                raise TimeoutError(f"expected {self.name} to work within {START_S:.0f} s")
            time.sleep(POLL_S)

    def _come_back(self) -> None:
        self._start()
        with contextlib.suppress(TimeoutError):  # then it stays down, which the report says
            self.wait()
            self._down[-1] = self._down[-1][0], time.monotonic() + self._settles_s


class Process:
    """A subcommand of watchnext that can be killed and started again.

    Args:
        arguments: The subcommand.
        log: What it says is added to this file.
    """

    def __init__(self, arguments: list[str], log: Path) -> None:
        self._command = [sys.executable, "-m", "watchnext", *arguments]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as said:
            self._process = subprocess.Popen(self._command, stdout=said, stderr=said)

    def kill(self) -> None:
        """Kill it as a crash would, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def is_running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> int:
        """End it in good order, and return its status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(START_S)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(port: int) -> bool:
    """Whether a service is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def kill_redis(home: Path) -> None:
    """Kill the private server of a data folder; its keeper starts it again."""
    pid = int((home / "redis" / "server.lock").read_bytes().strip(b"\0 \n"))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
