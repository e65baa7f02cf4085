"""Stopping a run by a signal: the first one ends it in good order, a second one at once."""

import contextlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Final, Self, TextIO

from ranker.files.secrets import shown

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAID: Final = "\nstopping after this step, with a checkpoint; once more ends at once\n"
SHOW_CURSOR: Final = "\x1b[?25h"


class StopSignals:
    """A context in which Ctrl-C, SIGTERM and SIGHUP are noted instead of ending the process.

    A second signal ends the process at once, even while the main thread waits for a disk: a thread of its own
    waits for it. Only the main thread can enter the context. A SIGHUP that is ignored, as under nohup, stays
    so.

    Args:
        said: What is said on standard error at the first signal.

    Attributes:
        number: The first signal that came; None before.
    """

    def __init__(self, said: str = SAID) -> None:
        self._said = said
        self.number: int | None = None
        self._left = contextlib.ExitStack()

    def __enter__(self) -> Self:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        watcher = threading.Thread(
            target=_watch, args=(reader, self._said), name="watchnext-stop", daemon=True
        )
        watcher.start()
        self._left.callback(os.close, reader)
        self._left.callback(watcher.join)
        self._left.callback(os.close, writer)  # which ends the watcher
        # The system's handler writes each signal's number, whatever the main thread is doing.
        self._left.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writer, warn_on_full_buffer=False))
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._left.callback(signal.signal, number, signal.signal(number, self._note))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.close()

    def asked(self) -> bool:
        """Whether a signal came."""
        return self.number is not None

    def _note(self, number: int, _: FrameType | None) -> None:
        self.number = self.number or number


def _watch(reader: int, said: str) -> None:
    """Say that a first signal was heard, and end the process at a second one."""
    heard = False
    while received := os.read(reader, 1):
        if received[0] in SIGNALS:
            if heard:
                _say(sys.stdout, SHOW_CURSOR)  # the live table hides it
                os._exit(128 + received[0])
            heard = True
            _say(sys.stderr, said)


def _say(stream: TextIO, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # there may be no terminal any more
        if text != SHOW_CURSOR or stream.isatty():
            os.write(stream.fileno(), text.encode())


def resume_command(arguments: Sequence[str]) -> str:
    """Return the command that goes on with a run, without the passwords in its URLs.

    Args:
        arguments: Those of the command that was stopped, without the program's name.
    """
    words = [shown(word) for word in arguments if word != "--resume"]
    left_out = " (with the passwords, which are left out here)" if set(words) - set(arguments) else ""
    return shlex.join(["watchnext", *words, "--resume"]) + left_out
