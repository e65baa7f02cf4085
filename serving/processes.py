"""Several processes behind one port.

The parent binds the socket and hands it to each; whichever is free takes a connection. It starts them anew
when they die, and stops them with itself: a line (a pipe) to each tells the parent that a process is ready,
or has ended, and the process that its parent has. Processes are spawned, not forked, because torch's threads
do not survive a fork.
"""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Final

from prometheus_client.multiprocess import mark_process_dead

from ranker.errors import WatchnextError
from serving.app import create_app
from serving.metrics import FOLDER_VARIABLE
from serving.server import Server
from serving.settings import ServingSettings

logger = logging.getLogger(__name__)

STOP_MARGIN_S: Final = 10
"""What a process may take to stop beyond the time for its requests, before it is killed."""
_spawn = multiprocessing.get_context("spawn")


def configure_logging() -> None:
    """Log to standard error, alike in every process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def run_processes(
    settings: ServingSettings, listener: socket.socket, count: int, ready: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT, and finish what was accepted.

    Args:
        settings: What each process is told.
        listener: A bound socket; it is closed at the end.
        count: How many processes.
        ready: Called with the model's version when all of them serve for the first time.

    Raises:
        WatchnextError: One of them failed to start.
    """
    stop, stopper = multiprocessing.Pipe(duplex=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopper.send(None))
    with _metrics_folder():
        lines = dict(_start(settings, listener) for _ in range(count))
        try:
            _watch(lines, stop, lambda: _start(settings, listener), ready)
        finally:
            listener.close()
            _stop(list(lines.values()), settings.shutdown_timeout_s + STOP_MARGIN_S)


def _watch(
    lines: dict[Connection, SpawnProcess],
    stop: Connection,
    start: Callable[[], tuple[Connection, SpawnProcess]],
    ready: Callable[[str], None],
) -> None:
    to_come = len(lines)
    while True:
        told = wait([stop, *lines])
        if stop in told:
            return
        for line in told:
            assert isinstance(line, Connection)
            try:
                message: str | WatchnextError = line.recv()
            except EOFError:
                message = _buried(line, lines.pop(line))
                if to_come <= 0:  # starting takes seconds: pause enough between one try and the next
                    logger.error("%s; starting another", message)
                    new_line, process = start()
                    lines[new_line] = process
                    continue
            if isinstance(message, WatchnextError):
                if to_come > 0:
                    raise message
                logger.error("%s", message)
                continue
            to_come -= 1
            if to_come == 0:
                ready(message)


def _buried(line: Connection, process: SpawnProcess) -> WatchnextError:
    line.close()
    process.join()
    mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
    return WatchnextError(
        f"expected process {process.pid} to serve, found that it ended with status {process.exitcode}"
    )


def _start(settings: ServingSettings, listener: socket.socket) -> tuple[Connection, SpawnProcess]:
    line, childs_line = multiprocessing.Pipe()
    process = _spawn.Process(target=_serve, args=(settings, listener, childs_line))
    # Ctrl-C in a terminal is for the parent, which tells its processes; they inherit that they ignore it.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.start()
    signal.signal(signal.SIGINT, handler)
    childs_line.close()
    return line, process


def _stop(processes: list[SpawnProcess], timeout_s: float) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(timeout_s)
        if process.is_alive():
            logger.error("process %s did not stop in time", process.pid)
            process.kill()
            process.join()


@contextmanager
def _metrics_folder() -> Iterator[None]:
    """Where the processes write what they count; they inherit its name."""
    with tempfile.TemporaryDirectory(prefix="watchnext-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER_VARIABLE]


def _serve(settings: ServingSettings, listener: socket.socket, line: Connection) -> None:
    """The life of one process."""
    configure_logging()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again after it has shut down
    try:
        app = create_app(settings)
    except WatchnextError as error:
        line.send(error)
        return
    server = Server(
        app,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        ready=lambda: line.send(app.state.ranking.manifest.model_version),
    )
    threading.Thread(target=_stop_with_parent, args=(line, server), daemon=True).start()
    server.run([listener])


def _stop_with_parent(line: Connection, server: Server) -> None:
    try:
        line.recv()  # nothing is ever sent
    except (EOFError, OSError):
        server.should_exit = True
