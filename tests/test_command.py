import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

import watchnext
from ranker.errors import BundleError, SourceError, WatchnextError
from ranker.failures import DEBUG_VARIABLE


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command in this process and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["watchnext", *arguments])
    with pytest.raises(SystemExit) as ended:
        watchnext.main()
    return int(ended.value.code or 0)


def install(monkeypatch: pytest.MonkeyPatch, **commands: object) -> None:
    """Make these the only installed subcommands, each of a package of its own."""
    apps = []
    for name, command in commands.items():
        app = typer.Typer()
        app.command(name)(command)  # type: ignore[type-var]
        apps.append(SimpleNamespace(load=lambda app=app: app))
    monkeypatch.setattr(
        watchnext, "entry_points", lambda group: apps if group == "watchnext.commands" else []
    )


def failing(error: BaseException) -> object:
    def command() -> None:
        raise error

    return command


def test_every_package_brings_its_subcommands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    for name in ("train", "evaluate", "features", "serve", "data", "simulate", "demo"):
        assert f"\n  {name} " in shown


def test_a_package_that_is_not_installed_is_not_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, serve=lambda: None, other=lambda: None)
    assert run(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    assert "\n  serve" in shown
    assert "\n  train" not in shown
    assert run(monkeypatch, "serve") == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [(SourceError("no such log"), 2), (BundleError("no such log"), 1), (WatchnextError("no such log"), 1)],
)
def test_a_users_mistake_is_status_2_and_any_other_refusal_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, status: int
) -> None:
    install(monkeypatch, work=failing(error), other=lambda: None)
    assert run(monkeypatch, "work") == status
    assert capsys.readouterr() == ("", "error: no such log\n")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("found [/red] and [bold]", "error: found [/red] and [bold]\n"),
        ("found one\nand two", "error: found one and two\n"),
        ("far " * 60, "error: " + "far " * 60 + "\n"),
        ("found :smile: \\", "error: found :smile: \\\n"),
    ],
)
def test_a_message_is_one_line_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], message: str, line: str
) -> None:
    install(monkeypatch, work=failing(SourceError(message)), other=lambda: None)
    assert run(monkeypatch, "work") == 2
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (
            ZeroDivisionError("by zero"),
            1,
            "unexpected ZeroDivisionError: by zero; run it again with --debug to see where",
        ),
        (AssertionError(), 1, "unexpected AssertionError; run it again with --debug to see where"),
        (
            PermissionError(13, "Permission denied", "/log/a"),
            2,
            "/log/a: found: Permission denied (PermissionError); run it again with --debug to see where",
        ),
        (
            OSError("stale\nhandle"),
            2,
            "found: stale handle (OSError); run it again with --debug to see where",
        ),
    ],
)
def test_an_error_that_nobody_foresaw_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
    line: str,
) -> None:
    install(monkeypatch, work=failing(error), other=lambda: None)
    assert run(monkeypatch, "work") == status
    assert capsys.readouterr() == ("", f"error: {line}\n")


@pytest.mark.parametrize("arguments", [("--debug", "work"), ("work", "--debug")])
def test_its_traceback_is_shown_to_who_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv(DEBUG_VARIABLE, "0")
    install(monkeypatch, work=failing(ZeroDivisionError("redis://:hunter2@h")), other=lambda: None)
    monkeypatch.setenv("WATCHNEXT_REDIS_URL", "redis://:hunter2@h")
    assert run(monkeypatch, "work") == 1
    assert "Traceback" not in capsys.readouterr().err

    assert run(monkeypatch, *arguments) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "in command" in said
    assert "hunter2" not in said


def test_a_thread_that_ends_by_an_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        thread = threading.Thread(target=lambda: 1 / 0, name="beside")
        thread.start()
        thread.join()

    before = threading.excepthook
    install(monkeypatch, work=work, other=lambda: None)
    assert run(monkeypatch, "work") == 0
    assert threading.excepthook is before
    said = capsys.readouterr().err
    assert said.startswith("error: in thread beside: unexpected ZeroDivisionError: division by zero")
    assert len(said.splitlines()) == 1


def test_ctrl_c_is_status_130_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, work=failing(KeyboardInterrupt()), other=lambda: None)
    assert run(monkeypatch, "work") == 130
    assert capsys.readouterr() == ("", "")


def test_what_is_refused_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, work=lambda: None, other=lambda: None)
    assert run(monkeypatch, "work", "s3://key:hunter2@bucket") == 2
    said = capsys.readouterr().err
    assert "s3://bucket" in said
    assert "hunter2" not in said


def test_the_version_is_that_of_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WATCHNEXT_VERSION", "7")  # a build may set it, and means no option
    install(monkeypatch, work=lambda: None, other=lambda: None)
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"watchnext {version('watchnext')}\n"
    assert run(monkeypatch, "work") == 0


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with its words."""
    below = getattr(command, "commands", {})
    if not below:
        yield path, command
    for name, child in below.items():
        yield from commands(child, (*path, name))


def test_every_option_has_an_environment_variable_that_help_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = list(commands(typer.main.get_command(watchnext._app())))
    assert len(found) > 10
    for path, command in found:
        assert run(monkeypatch, *path, "--help") == 0
        shown = capsys.readouterr().out
        options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
        assert len(re.findall(r"WATCHNEXT_[A-Z_]+\b(?!…)", shown)) == len(options), shown


def test_an_option_is_read_from_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(depth: int = 1) -> None:
        typer.echo(depth)

    install(monkeypatch, work=work, other=lambda: None)
    monkeypatch.setenv("WATCHNEXT_WORK_DEPTH", "5")
    assert run(monkeypatch, "work") == 0
    assert run(monkeypatch, "work", "--depth", "7") == 0
    assert capsys.readouterr().out == "5\n7\n"


WORDS = """
import sys
from types import SimpleNamespace
import typer, watchnext
from rich.console import Console
app = typer.Typer()
@app.command()
def work(rows: int = 1):
    for row in range(rows):
        Console().print_json('{"name": "caf\\u00e9 \\U0001f600"}')
@app.command()
def other():
    print("a line that stays in the buffer")
watchnext.entry_points = lambda group: [SimpleNamespace(load=lambda: app)]
watchnext.main()
"""


def test_output_in_an_encoding_without_a_character_stays_json() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORDS, "work"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert json.loads(done.stdout) == {"name": "café 😀"}


@pytest.mark.parametrize("rows", ["1", "100000"])
def test_a_reader_that_has_read_enough_ends_it_quietly(rows: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WORDS, "work", "--rows", rows], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait(60)


@pytest.mark.parametrize("command", ["work", "other"])
def test_output_on_a_full_disk_is_one_line_and_status_2(command: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", WORDS, command], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: found: No space left on device")
    assert len(done.stderr.splitlines()) == 1


def test_commands_whose_extra_is_not_installed_are_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, serve=lambda: None, other=lambda: None)

    def load() -> typer.Typer:
        raise ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard")

    lacking = SimpleNamespace(name="training", load=load)
    installed = watchnext.entry_points(group="watchnext.commands")
    monkeypatch.setattr(watchnext, "entry_points", lambda group: [*installed, lacking])

    assert run(monkeypatch, "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "The commands of training need its extra, for tensorboard." in shown
    assert "pip install 'watchnext[train,serve]'" in shown
    assert re.search(r"Commands: .*\bserve\b", shown)


def test_a_module_of_our_own_that_is_missing_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load() -> typer.Typer:
        raise ModuleNotFoundError("No module named 'training'", name="training")

    monkeypatch.setattr(
        watchnext, "entry_points", lambda group: [SimpleNamespace(name="training", load=load)]
    )
    assert run(monkeypatch, "--help") == 1
    assert "unexpected ModuleNotFoundError: No module named 'training'" in capsys.readouterr().err
