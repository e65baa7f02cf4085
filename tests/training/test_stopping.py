import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from training.stopping import SAID, StopSignals, resume_command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_noted_and_handlers_are_given_back(number: signal.Signals) -> None:
    def before(*_: object) -> None:
        """Not called; under nohup the system would have SIGHUP ignored."""

    earlier = signal.signal(number, before)
    try:
        with StopSignals() as stop:
            assert not stop.asked()
            os.kill(os.getpid(), number)
            assert stop.asked()
            assert stop.number == number
        assert signal.getsignal(number) == before
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(number, earlier)


WAITS = """
import sys, threading
from training.stopping import StopSignals
with StopSignals() as stop:
    print("ready", flush=True)
    lock = open(sys.argv[1])
    lock.read()  # of a pipe into which nobody writes: a disk that does not answer
"""


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_process_even_while_it_waits_for_a_disk(
    tmp_path: Path, second: signal.Signals
) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-c", WAITS, str(tmp_path / "pipe")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() + process.stderr.readline() == SAID
        process.send_signal(second)
        assert process.wait(60) == 128 + second


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.asked()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["train", "--data", "a b"], "watchnext train --data 'a b' --resume"),
        (["train", "--resume", "--json"], "watchnext train --json --resume"),
        (
            ["train", "--registry=s3://key:hunter2@bucket/x"],
            "watchnext train --registry=s3://bucket/x --resume (with the passwords, which are left out here)",
        ),
    ],
)
def test_the_command_that_goes_on_is_the_one_that_was_given(arguments: list[str], command: str) -> None:
    assert resume_command(arguments) == command
