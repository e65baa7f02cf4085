import sys
from types import SimpleNamespace

import pytest
import typer

import watchnext
from ranker.errors import BundleError, SourceError, WatchnextError


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


def failing(error: Exception) -> object:
    def command() -> None:
        raise error

    return command


def test_every_package_brings_its_subcommands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    for name in ("train", "evaluate", "features", "serve", "data", "simulate", "demo"):
        assert f"│ {name} " in shown


def test_a_package_that_is_not_installed_is_not_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, serve=lambda: None, other=lambda: None)
    assert run(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    assert "│ serve " in shown
    assert "│ train " not in shown
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


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, work=failing(ZeroDivisionError()), other=lambda: None)
    monkeypatch.setattr(sys, "argv", ["watchnext", "work"])
    with pytest.raises(ZeroDivisionError):
        watchnext.main()


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
    assert "│ serve" in shown


def test_a_module_of_our_own_that_is_missing_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> typer.Typer:
        raise ModuleNotFoundError("No module named 'training'", name="training")

    monkeypatch.setattr(
        watchnext, "entry_points", lambda group: [SimpleNamespace(name="training", load=load)]
    )
    monkeypatch.setattr(sys, "argv", ["watchnext", "--help"])
    with pytest.raises(ModuleNotFoundError):
        watchnext.main()
