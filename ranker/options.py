"""The options that commands of several packages have in common."""

from pathlib import Path
from typing import Annotated

import typer

from ranker.files.location import local_path

RegistryOption = Annotated[
    str, typer.Option(envvar="WATCHNEXT_REGISTRY", help="Folder or fsspec URL where bundles are kept.")
]
RedisOption = Annotated[
    str | None,
    typer.Option(
        envvar="WATCHNEXT_REDIS_URL",
        help="Redis server with the features; without it, a private one with its data in --home.",
    ),
]
HomeOption = Annotated[
    Path | None,
    typer.Option(
        parser=local_path,
        metavar="FOLDER",
        envvar="WATCHNEXT_HOME",
        help="The private Redis server's data folder.  [default: ~/.local/share/watchnext]",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", envvar="WATCHNEXT_JSON", help="Print JSON instead of tables.")
]
