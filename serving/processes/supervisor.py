"""Several processes behind one port.

The parent accepts connections and hands them to its processes in turn. Were they to share the listening
socket, whichever woke first would take what is there: of 4 connections opened at once, 2 idle processes got
4 and 0 more often than 2 and 2, which halves what 2 cores can do. Processes are spawned, not forked, because
torch's threads do not survive a fork; one that dies is replaced.
"""

import logging
import multiprocessing
import os
import selectors
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Final

from prometheus_client.multiprocess import mark_process_dead

from ranker.errors import WatchnextError
from serving.http.metrics import FOLDER_VARIABLE
from serving.processes.worker_process import serve_handed_over
from serving.settings import ServingSettings

logger = logging.getLogger(__name__)

BACKLOG: Final = 2048
STOP_MARGIN_S: Final = 10
"""What a process may take to stop beyond the time for its requests, before it is killed."""
_spawn = multiprocessing.get_context("spawn")


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    line: Connection
    connections: socket.socket
    serves: bool = False


class Processes:
    """Serves with several processes until SIGTERM or SIGINT, and lets them finish what they accepted.

    Args:
        settings: What each process is told.
        listener: A bound socket; it is closed at the end.
        count: How many processes.
        ready: Called with the model's version when all of them serve for the first time.
    """

    def __init__(
        self, settings: ServingSettings, listener: socket.socket, count: int, ready: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._count = count
        self._ready = ready
        self._all_served = False
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Serve.

        Raises:
            WatchnextError: One of the processes failed to start.
        """
        stop, stopper = multiprocessing.Pipe(duplex=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopper.send(None))
        self._selector.register(stop, selectors.EVENT_READ)
        with _metrics_folder(), self._selector:
            try:
                for _ in range(self._count):
                    self._start()
                while stop not in (told := [key.fileobj for key, _ in self._selector.select()]):
                    for source in told:
                        self._heed(source)
                self._accept()  # those whose connection the system has made already
            finally:
                self._listener.close()
                self._stop()

    def _heed(self, source: object) -> None:
        if source is self._listener:
            self._accept()
            return
        worker = next(worker for worker in self._workers if worker.line is source)
        try:
            message: str | WatchnextError = worker.line.recv()
        except EOFError:
            message = self._bury(worker)
        if isinstance(message, str):
            worker.serves = True
            if not self._all_served and all(other.serves for other in self._workers):
                self._all_served = True
                self._listener.listen(BACKLOG)
                self._listener.setblocking(False)
                self._selector.register(self._listener, selectors.EVENT_READ)
                self._ready(message)
        elif not self._all_served:
            raise message
        else:
            logger.error("%s", message)
        while self._all_served and len(self._workers) < self._count:
            self._start()  # which takes seconds: pause enough when they die at once

    def _accept(self) -> None:
        """Hand over what waits for a process."""
        while self._all_served:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                logger.error("expected to accept a connection, found %s", error)
                return
            with connection:
                self._hand_over(connection)

    def _hand_over(self, connection: socket.socket) -> None:
        for worker in list(self._workers):
            self._workers.append(self._workers.pop(0))  # next time another is the first
            if worker.serves:
                try:
                    socket.send_fds(worker.connections, [b"c"], [connection.fileno()])
                except OSError:  # it has just died, or hangs
                    continue
                return

    def _start(self) -> None:
        line, childs_line = multiprocessing.Pipe(duplex=False)
        connections, childs_connections = socket.socketpair()
        connections.setblocking(False)
        process = _spawn.Process(
            target=serve_handed_over, args=(self._settings, childs_line, childs_connections)
        )
        # Ctrl-C in a terminal is for the parent, which tells its processes; they inherit that they ignore it.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        process.start()
        signal.signal(signal.SIGINT, handler)
        childs_line.close()
        childs_connections.close()
        self._workers.append(_Worker(process, line, connections))
        self._selector.register(line, selectors.EVENT_READ)

    def _bury(self, worker: _Worker) -> WatchnextError:
        self._workers.remove(worker)
        self._selector.unregister(worker.line)
        worker.line.close()
        worker.connections.close()
        worker.process.join()
        mark_process_dead(worker.process.pid)  # type: ignore[no-untyped-call]
        return WatchnextError(
            f"expected process {worker.process.pid} to serve, "
            f"found that it ended with status {worker.process.exitcode}"
        )

    def _stop(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(self._settings.shutdown_timeout_s + STOP_MARGIN_S)
            if worker.process.is_alive():
                logger.error("process %s did not stop in time", worker.process.pid)
                worker.process.kill()
                worker.process.join()


@contextmanager
def _metrics_folder() -> Iterator[None]:
    """Where the processes write what they count; they inherit its name."""
    with tempfile.TemporaryDirectory(prefix="watchnext-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER_VARIABLE]
