"""A service in a process group, all of which ends with the context."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from load_tests.environment import ROOT

START_S = 120.0
STOP_S = 10.0
NOT_INHERITED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that are not passed on, so that a service chooses its number of threads."""


class ServiceError(Exception):
    """A service did not start; the message has the end of its log."""


@dataclass(frozen=True)
class Running:
    """A running service.

    Attributes:
        url: The service's URL.
        process: The process that was started, the ancestor of all others.
        key: The API key that it requires; None for none.
    """

    url: str
    process: psutil.Process
    key: str | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def family(self) -> list[psutil.Process]:
        """Return all processes of the service."""
        with suppress(psutil.NoSuchProcess):
            return [self.process, *self.process.children(recursive=True)]
        return []

    def memory_bytes(self) -> int:
        """Return the proportional set size of all processes, which divides shared pages among their users."""
        total = 0
        for each in self.family():
            with suppress(psutil.Error):
                total += each.memory_full_info().pss
        return total

    def cpu_s(self) -> float:
        """Return the processor seconds that all processes have used."""
        total = 0.0
        for each in self.family():
            with suppress(psutil.Error):
                used = each.cpu_times()
                total += used.user + used.system
        return total

    def ask(self, body: bytes) -> tuple[int, bytes]:
        """Send one request for a ranking, and return the answer's status and body."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)
        try:
            headers = {"Content-Type": "application/json"}
            if self.key is not None:
                headers["Authorization"] = f"Bearer {self.key}"
            connection.request("POST", "/v1/rank", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextmanager
def running(
    command: Sequence[str | Path],
    port: int,
    environment: Mapping[str, str],
    log: Path,
    first: bytes,
    *,
    key: str | None = None,
) -> Iterator[Running]:
    """Start a service, wait until it ranks, and end all of its processes with the context.

    Args:
        command: The command that starts it.
        port: The port that the command names.
        environment: Variables in addition to those of this process.
        log: File for its output.
        first: Body of the request that must be answered before the service counts as started.
        key: The API key that it requires; None for none.

    Raises:
        ServiceError: The service ended, or did not rank in time.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    with log.open("wb") as out:
        started = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env={**inherited, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    service = Running(f"http://127.0.0.1:{port}", psutil.Process(started.pid), key)
    try:
        _wait_until_it_ranks(service, started, first, log)
        yield service
    finally:
        _end(service, started)


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_it_ranks(service: Running, started: subprocess.Popen[bytes], first: bytes, log: Path) -> None:
    deadline, found = time.monotonic() + START_S, "no answer"
    while time.monotonic() < deadline:
        if started.poll() is not None:
            raise ServiceError(f"it ended with status {started.returncode}: {_end_of(log)}")
        with suppress(OSError, http.client.HTTPException):
            status, body = service.ask(first)
            if status == 200:
                return
            found = f"status {status}: {body[:200]!r}"
        time.sleep(0.2)
    raise ServiceError(f"expected a ranking within {START_S:.0f} s, found {found}; {_end_of(log)}")


def _end_of(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "the log is empty"


def _end(service: Running, started: subprocess.Popen[bytes]) -> None:
    """Terminate the service, then kill what is left, also processes that left its process group."""
    family = service.family()
    with suppress(ProcessLookupError):
        os.kill(started.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        started.wait(STOP_S)
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.kill()  # psutil does not kill another process with the same id
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    psutil.wait_procs(family, timeout=STOP_S)
    started.wait()
