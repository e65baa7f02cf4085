"""watchnext for Python, and the command `watchnext`: the subcommands of every installed package.

    from watchnext import Ranker, Registry, evaluate, load_spec, train

`train` and `evaluate` need the extra `train`, `Ranker` needs the extra `serve`; each is imported when it is
first asked for.
"""

import codecs
import io
import os
import sys
import threading
import traceback
from importlib import import_module
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from ranker.failures import DEBUG_VARIABLE, debugging, explained
from ranker.files.secrets import censored

if TYPE_CHECKING:
    from ranker.bundles.registry import Registry
    from ranker.spec_file import load_spec
    from serving.in_process import Ranker
    from training.api import evaluate, train

__all__ = ["Ranker", "Registry", "evaluate", "load_spec", "main", "train"]

OWN_PACKAGES = ("ranker", "training", "serving")
HOMES = {
    "Ranker": "serving.in_process",
    "Registry": "ranker.bundles.registry",
    "evaluate": "training.api",
    "load_spec": "ranker.spec_file",
    "train": "training.api",
}
"""Where what is offered to Python stands."""
PREFIX = "WATCHNEXT"
"""Begins the name of the environment variable of every option."""
DEBUG = "--debug"
ESCAPED = "watchnext.escaped"
"""The error handler of output in an encoding that lacks a character."""


def __getattr__(name: str) -> Any:
    """What Python is offered, imported when it is first asked for."""
    if name not in HOMES:
        raise AttributeError(f"module 'watchnext' has no attribute '{name}'; it offers {', '.join(HOMES)}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def main() -> None:
    """Run the command line.

    A user's mistake ends with status 2 and one line on standard error, any other failure with status 1. The
    traceback is shown with `--debug`.
    """
    of_threads, threading.excepthook = threading.excepthook, _told_of_thread
    codecs.register_error(ESCAPED, _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPED)
    try:
        try:
            if DEBUG in (arguments := sys.argv[1:]):  # after the subcommand, too
                arguments.remove(DEBUG)
                os.environ[DEBUG_VARIABLE] = "1"
            command = typer.main.get_command(_app())
            command(arguments, prog_name="watchnext", auto_envvar_prefix=PREFIX)
        finally:
            sys.stdout.flush()  # a full disk is found here, not when the interpreter ends
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(_told(error))
    finally:
        threading.excepthook = of_threads


def _app() -> typer.Typer:
    """The subcommands of every installed package."""
    app = typer.Typer(
        name="watchnext",
        cls=_Commands,
        help="Rank videos by several goals at once: train on a log, serve over HTTP, evaluate.\n\n"
        f"Every option can also be given by an environment variable, which its help names: {PREFIX}_..., so "
        "that no password need be in the list of processes.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # Rich's panels cut the names of variables short in a terminal of 80 columns
    )
    app.callback()(_root)
    # Beside another busy process, spinning OpenMP threads make torch several times slower than waiting ones.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when an entry point imports torch
    missing = []
    for entry in entry_points(group="watchnext.commands"):
        try:
            app.add_typer(entry.load())
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] in OWN_PACKAGES:
                raise
            missing.append(f"The commands of {entry.name} need its extra, for {error.name}.")
    bundles = import_module("ranker.bundles.commands")
    app.add_typer(bundles.app, name="bundles")
    at_hand = typer.Typer()  # for who has no time to look for it
    at_hand.command()(bundles.rollback)
    app.add_typer(at_hand)
    app.info.epilog = " ".join([*missing, "pip install 'watchnext[train,serve]'"]) if missing else None
    return app


class _Commands(TyperGroup):
    """All subcommands; what they refuse is told without the passwords in the words that were given."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if isinstance(said := getattr(error, "message", None), str):
                error.message = censored(said, sys.argv)  # type: ignore[attr-defined]
            raise


def _root(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and end.",
            is_eager=True,
            allow_from_autoenv=False,
            callback=lambda wanted: _print_version() if wanted else None,
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show the traceback of an error; may stand after a command, too.")
    ] = False,
) -> None:
    """Declare the options of all commands, for --help; `main` has read --debug before."""


def _print_version() -> None:
    typer.echo(f"watchnext {version('watchnext')}")
    raise typer.Exit


def _told(error: BaseException) -> int:
    """Say what went wrong on standard error; return the exit status."""
    if isinstance(error, BrokenPipeError):  # whoever read the output has read enough
        return _stop_output() or 1
    failure = explained(error)
    secret = (*sys.argv, *(value for name, value in os.environ.items() if name.startswith(PREFIX)))
    try:
        if debugging():
            sys.stderr.write(censored("".join(traceback.format_exception(error)), secret))
        if failure.line:
            message = Text(censored(failure.line, secret))
            Console(stderr=True, soft_wrap=True).print("[bold red]error:[/]", message, highlight=False)
        sys.stdout.flush()
    except OSError:
        _stop_output()
    return failure.status


def _told_of_thread(failed: threading.ExceptHookArgs) -> None:
    """Say that a thread has ended by an error, unless TensorBoard does, which raises it where it is used."""
    if debugging():
        threading.__excepthook__(failed)
    elif failed.exc_value is not None and not type(failed.thread).__module__.startswith("tensorboard"):
        name = failed.thread.name if failed.thread else "?"
        sys.stderr.write(f"error: in thread {name}: {explained(failed.exc_value).line}\n")


def _stop_output() -> None:
    """Let what has not been written go nowhere: the interpreter would try it again, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Write what the terminal's encoding lacks as JSON writes it, so that JSON stays JSON."""
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4)), error.end


if __name__ == "__main__":
    main()
