"""watchnext for Python, and the command `watchnext`: the subcommands of every installed package.

    from watchnext import Ranker, Registry, evaluate, load_spec, train

`train` and `evaluate` need the extra `train`, `Ranker` needs the extra `serve`; each is imported when it is
first asked for.
"""

import os
import sys
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.text import Text

from ranker.errors import UserError, WatchnextError

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


def __getattr__(name: str) -> Any:
    """What Python is offered, imported when it is first asked for."""
    if name not in HOMES:
        raise AttributeError(f"module 'watchnext' has no attribute '{name}'; it offers {', '.join(HOMES)}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


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
