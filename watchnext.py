"""The command `watchnext`: the subcommands of every installed package under one roof."""

import os
import sys
from importlib.metadata import entry_points

import typer
from rich.console import Console
from rich.text import Text

from ranker.errors import UserError, WatchnextError

OWN_PACKAGES = ("ranker", "training", "serving")


def main() -> None:
    """Run the command line.

    A user's mistake ends with status 2 and one line on standard error, any other refusal with status 1.
    """
    app = typer.Typer(
        name="watchnext",
        help="Rank videos by several goals at once: train on a log, serve over HTTP, evaluate.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
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
    app.info.epilog = " ".join([*missing, "pip install 'watchnext\\[train,serve]'"]) if missing else None
    try:
        app()
    except WatchnextError as error:
        message = Text(" ".join(str(error).splitlines()))
        Console(stderr=True, soft_wrap=True).print("[bold red]error:[/]", message, highlight=False)
        sys.exit(2 if isinstance(error, UserError) else 1)


if __name__ == "__main__":
    main()
