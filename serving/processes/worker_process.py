"""The main function of one of several processes behind a port.

It does not listen itself: the supervisor accepts connections and passes them to it, see
`serving/processes/supervisor.py`.
"""

import asyncio
import contextlib
import socket
import traceback
from multiprocessing.connection import Connection

from ranker.errors import WatchnextError
from ranker.failures import debugging, explained
from serving.app import create_app
from serving.logs import configure_logging
from serving.processes.hangup import read_keys_on_hangup
from serving.processes.server import Server
from serving.settings import ServingSettings


def serve_passed_connections(
    settings: ServingSettings, status_pipe: Connection, passed_connections: socket.socket
) -> None:
    """Serve until SIGTERM, or until the supervisor has ended.

    Args:
        settings: Of the service.
        status_pipe: This process sends the model's version once it serves, or the error that prevents it.
        passed_connections: Receives one descriptor with each byte, and EOF when the supervisor has ended.
    """
    configure_logging(settings.log_format)
    try:
        app = create_app(settings)
    except WatchnextError as error:
        status_pipe.send(error)
        return
    except Exception as error:
        if debugging():
            traceback.print_exc()
        status_pipe.send(WatchnextError(explained(error).line))
        return
    read_keys_on_hangup(app)

    def on_ready() -> None:
        _receive_connections(server, passed_connections)
        status_pipe.send(app.state.ranking.model.manifest.model_version)

    server = Server(
        app, app.state.admission, shutdown_timeout_s=settings.shutdown_timeout_s, on_ready=on_ready
    )
    server.run([])


def _receive_connections(server: Server, passed_connections: socket.socket) -> None:
    """Serve every connection that the supervisor passes; stop the server when it passes no more."""
    loop = asyncio.get_running_loop()
    tasks = set()

    async def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client has already disconnected
            await server.serve_connection(connection)

    def receive() -> None:
        _, descriptors, _, _ = socket.recv_fds(passed_connections, 1, 1)
        if not descriptors:
            loop.remove_reader(passed_connections)
            server.should_exit = True
            return
        connection = socket.socket(fileno=descriptors[0])
        connection.setblocking(False)
        task = loop.create_task(serve(connection))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    passed_connections.setblocking(False)
    loop.add_reader(passed_connections, receive)
