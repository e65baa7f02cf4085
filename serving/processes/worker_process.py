"""The life of one of several processes behind a port.

It listens nowhere: its parent hands it connections, see `serving/processes/supervisor.py`.
"""

import asyncio
import contextlib
import logging
import socket
from multiprocessing.connection import Connection

from ranker.errors import WatchnextError
from serving.app import create_app
from serving.processes.server import Server
from serving.settings import ServingSettings


def configure_logging() -> None:
    """Log to standard error, alike in every process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def serve_handed_over(settings: ServingSettings, line: Connection, connections: socket.socket) -> None:
    """Serve until SIGTERM, or until the parent is gone.

    Args:
        settings: What the service is told.
        line: The parent reads from it the model's version once this process serves, or the error because of
            which it does not.
        connections: Brings one descriptor with each byte, and the end when the parent ends.
    """
    configure_logging()
    try:
        app = create_app(settings)
    except WatchnextError as error:
        line.send(error)
        return
    server = Server(
        app,
        app.state.admission,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        ready=lambda: _serving(server, connections, line, app.state.ranking.model.manifest.model_version),
    )
    server.run([])


def _serving(server: Server, connections: socket.socket, line: Connection, version: str) -> None:
    loop = asyncio.get_running_loop()
    joining = set()

    async def join(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client is gone already
            await server.join(connection)

    def take() -> None:
        _, descriptors, _, _ = socket.recv_fds(connections, 1, 1)
        if not descriptors:
            loop.remove_reader(connections)
            server.should_exit = True
            return
        connection = socket.socket(fileno=descriptors[0])
        connection.setblocking(False)
        task = loop.create_task(join(connection))
        joining.add(task)
        task.add_done_callback(joining.discard)

    connections.setblocking(False)
    loop.add_reader(connections, take)
    line.send(version)
