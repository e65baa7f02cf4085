"""The command `watchnext serve`."""

import logging
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from ranker.errors import UserError
from ranker.store.connection import default_home, store_url
from serving.app import create_app
from serving.settings import ServingSettings

logger = logging.getLogger(__name__)

app = typer.Typer()


@app.command()
def serve(
    registry: Annotated[str, typer.Option(help="Folder or fsspec URL that `watchnext train` exported to.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every one.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free one.")
    ] = 8000,
    redis_url: Annotated[
        str | None,
        typer.Option(help="Redis server with the features; by default a private one in the data folder."),
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(
            envvar="WATCHNEXT_HOME",
            help="Data folder of the private Redis.  [default: ~/.local/share/watchnext]",
        ),
    ] = None,
) -> None:
    """Rank videos over HTTP: POST /v1/rank, described at /docs."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # uvicorn raises the signal again once it has shut down in good order, which is no failure
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    with _listening(host, port) as listener, store_url(redis_url, home or default_home()) as url:
        application = create_app(ServingSettings(registry=registry, redis_url=url))
        config = uvicorn.Config(application, log_config=None, access_log=False)
        place = f"[{host}]" if ":" in host else host
        name = application.state.ranking.manifest.model_version
        _Server(config, f"serving {name} at http://{place}:{listener.getsockname()[1]}").run([listener])


class _Server(uvicorn.Server):
    """Says where it serves once it does."""

    def __init__(self, config: uvicorn.Config, announcement: str) -> None:
        super().__init__(config)
        self._announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        logger.info("%s", self._announcement)


def _listening(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"--host {host} --port {port}: expected a free address, found {error.strerror}"
        ) from error
    return listener
