"""A child process that is started again when it ends, after a pause that grows."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ranker.files.whole import naming

logger = logging.getLogger(__name__)

MIN_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 30.0
STEADY_S: Final = 60.0
"""Who ran so long before it ended is started again at once, as at the first time."""
OPTIONS: Final = "WATCHNEXT_"
"""Environment variables with options, which are meant for the command that was given."""


def subcommand(*arguments: str) -> list[str]:
    """The command of a subcommand of watchnext that ends if this process is killed."""
    return [sys.executable, "-m", "training.up.launch", str(os.getpid()), *arguments]


class Child:
    """A process of its own.

    It has a session of its own, so that Ctrl-C in the terminal leaves it to its supervisor, who ends the
    children in order.

    Args:
        name: What it is, for messages.
        command: What runs; see `subcommand`.
        log: Where it writes what it says; emptied when the child is first started.
        patience_s: How long it may take to end before it is killed.
        ends: Whether it may end by itself, with status 0.

    Attributes:
        name: As given.
        log: As given.
        restarts: How often it was started again.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        patience_s: float = 15.0,
        ends: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        self.restarts = 0
        self._command = list(command)
        self._patience_s = patience_s
        self._ends = ends
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._failures = 0
        self._again_s: float | None = None
        self._done = False

    def start(self) -> None:
        """Start it for the first time."""
        with naming(self.log):
            self.log.write_bytes(b"")
        self._start()

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self.status is None else None

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def said(self) -> str:
        """The last line that it wrote."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()
            return lines[-1].strip() if lines else ""
        return ""

    def look_after(self) -> None:
        """Start it again if it has ended and its pause is over."""
        now = time.monotonic()
        if self.status is None:
            if now - self._started_s > STEADY_S:
                self._failures = 0
            return
        if self._ends and self.status == 0:
            if not self._done:
                logger.info("the %s has come to its end", self.name)
            self._done = True
            return
        if self._again_s is None:
            pause_s = min(MAX_PAUSE_S, MIN_PAUSE_S * 2**self._failures)
            self._failures += 1
            self._again_s = now + pause_s
            why = f"status {self.status}: {self.said or 'it said nothing'}"
            if self.status < 0:
                why = signal.Signals(-self.status).name
            said = "the %s ended (%s); it is started again in %g s (%s)"
            logger.warning(said, self.name, why, pause_s, self.log)
        elif now >= self._again_s:
            self.restarts += 1
            self._start()

    def wait(self) -> None:
        """Wait until it ends."""
        assert self._process is not None
        self._process.wait()

    def stop(self) -> None:
        """End it in good order; kill it if that takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(self._patience_s)
        except subprocess.TimeoutExpired:
            logger.warning("the %s did not end within %.0f s and is killed", self.name, self._patience_s)
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        self._again_s = None
        self._started_s = time.monotonic()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(OPTIONS)}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
