import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.waiting import wait_until
from training.up import child as child_module
from training.up.child import Child

PATIENT = "import signal, time; print('ready', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True)\n"


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_child_that_ends_is_started_again_after_a_pause_that_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(child_module, "MIN_PAUSE_S", 0.01)
    monkeypatch.setattr(child_module, "MAX_PAUSE_S", 0.02)
    child = Child("trainer", python("print('no disk'); raise SystemExit(2)"), tmp_path / "said.log")
    child.start()

    def twice() -> bool:
        child.look_after()
        return child.restarts == 2 and child.status is not None

    with caplog.at_level(logging.WARNING):
        wait_until(twice, "two restarts")
        child.look_after()

    pauses = [record.args[2] for record in caplog.records if isinstance(record.args, tuple)]
    assert pauses == [0.01, 0.02, 0.02]
    assert "the trainer ended (status 2: no disk); it is started again in 0.01 s" in caplog.text
    assert child.log.read_text() == "no disk\n" * 3


@pytest.mark.parametrize(("status", "restarts"), [(0, 0), (3, 1)])
def test_a_child_that_may_end_is_started_again_only_if_it_failed(
    status: int, restarts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "MIN_PAUSE_S", 0.0)
    child = Child("replay", python(f"raise SystemExit({status})"), tmp_path / "said.log", ends=True)
    child.start()
    child.wait()

    for _ in range(2):
        child.look_after()

    assert child.restarts == restarts
    child.kill()


def test_a_child_that_ran_for_long_is_started_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(child_module, "MIN_PAUSE_S", 0.01)
    monkeypatch.setattr(child_module, "STEADY_S", 0.0)
    child = Child("service", python(PATIENT), tmp_path / "said.log")
    child.start()
    with caplog.at_level(logging.WARNING):
        for restarts in (1, 2):
            wait_until(lambda: child.said == "ready", "the child")
            child.look_after()
            child.kill()

            def again(restarts: int = restarts) -> bool:
                child.look_after()
                return child.restarts == restarts

            wait_until(again, "a restart")
    child.kill()

    assert [record.getMessage().split(" (")[1] for record in caplog.records] == [
        "SIGKILL); it is started again in 0.01 s"
    ] * 2


def test_a_child_is_stopped_or_killed_if_that_takes_too_long(tmp_path: Path) -> None:
    patient = Child("patient", python(PATIENT), tmp_path / "patient.log", patience_s=60)
    patient.stop()  # which was never started
    stubborn = Child(
        "stubborn", python(STUBBORN + "time.sleep(600)"), tmp_path / "stubborn.log", patience_s=0.1
    )
    for child, status in ((patient, -signal.SIGTERM), (stubborn, -signal.SIGKILL)):
        child.start()
        wait_until(lambda child=child: child.said == "ready", "the child")
        assert child.pid is not None
        child.stop()
        assert (child.status, child.pid) == (status, None)


def test_options_of_the_supervisor_are_not_those_of_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHNEXT_SERVE_PORT", "1")
    monkeypatch.setenv("ANOTHER", "2")
    names = "import os; print('WATCHNEXT_SERVE_PORT' in os.environ, 'ANOTHER' in os.environ)"
    child = Child("child", python(names), tmp_path / "said.log")
    child.start()
    child.wait()
    assert child.said == "False True"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel of Linux does this")
def test_a_subcommand_ends_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "said.log"
    script = (
        "import sys, time; from pathlib import Path; from training.up.child import Child, subcommand\n"
        "child = Child('server', subcommand(*sys.argv[2:]), Path(sys.argv[1])); child.start()\n"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    serve = ["serve", "--registry", "/proc/none", "--home", str(tmp_path), "--port", "0"]
    launched = [*python(script), str(log), *serve]
    with subprocess.Popen(launched, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        assert is_alive(pid)
        supervisor.kill()
    wait_until(lambda: not is_alive(pid), "the child to end")
    assert os.path.getsize(log) < 200  # it ended before it could say what it lacks
