import os
import signal
import subprocess
import sys

import pytest

from training.stopping import StopSignals, resume_command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_noted_and_handlers_are_given_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert not stop.asked()
        os.kill(os.getpid(), number)
        assert stop.asked()
        assert stop.number == number
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL  # the next one ends the process
    assert signal.getsignal(number) == before


WAITS = """
import os, signal, sys
from training.stopping import StopSignals
with StopSignals() as stop:
    print("ready", flush=True)
    while True:
        signal.pause()
        print(stop.number, flush=True)
"""


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_process_at_once(second: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == f"{int(signal.SIGINT)}\n"
        process.send_signal(second)
        assert process.wait(60) == -second
        assert (
            process.stderr.read() == "\nstopping after this step, with a checkpoint; once more ends at once\n"
        )


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
