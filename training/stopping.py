"""Stopping a run by a signal: the first one ends it in good order, a second one at once."""

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, Final, Self

from ranker.files.secrets import shown

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAID: Final = "\nstopping after this step, with a checkpoint; once more ends at once\n"
SHOW_CURSOR: Final = "\x1b[?25h"


class StopSignals:
    """A context in which Ctrl-C, SIGTERM and SIGHUP are noted instead of ending the process.

    After the first signal the system's own handling is back, so that the second one ends the process even
    while it waits for a disk. Only the main thread can use it. A SIGHUP that is ignored, as under nohup,
    stays so.

    Attributes:
        number: The signal that came; None before.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self) -> bool:
        """Whether a signal came."""
        return self.number is not None

    def _note(self, number: int, _: FrameType | None) -> None:
        self.number = number
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        with contextlib.suppress(OSError, ValueError):  # there may be no terminal any more
            if sys.stdout.isatty():  # the second signal would leave it as the live table has it
                os.write(sys.stdout.fileno(), SHOW_CURSOR.encode())
            os.write(sys.stderr.fileno(), SAID.encode())


def resume_command(arguments: Sequence[str]) -> str:
    """Return the command that goes on with a run, without the passwords in its URLs.

    Args:
        arguments: Those of the command that was stopped, without the program's name.
    """
    words = [shown(word) for word in arguments if word != "--resume"]
    left_out = " (with the passwords, which are left out here)" if set(words) - set(arguments) else ""
    return shlex.join(["watchnext", *words, "--resume"]) + left_out
