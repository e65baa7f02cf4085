"""Several processes behind one port.

The supervisor accepts connections and passes them to its processes in turn. If the processes shared the
listening socket, the first to wake up would accept every connection that waits: of 4 connections opened at
once, 2 idle processes got 4 and 0 more often than 2 and 2, which halves the throughput of 2 cores. Processes
are spawned, not forked, because torch's threads do not survive a fork; one that dies is replaced.
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
from serving.processes.listening import listen
from serving.processes.worker_process import serve_passed_connections
from serving.settings import ServingSettings

logger = logging.getLogger(__name__)

STOP_MARGIN_S: Final = 10
"""Time that a process has to stop, beyond that for its requests, before it is killed."""
_spawn = multiprocessing.get_context("spawn")


@dataclass(eq=False)
class _Worker:
    """A process and the supervisor's ends of what connects them; see `serve_passed_connections`."""

    process: SpawnProcess
    status_pipe: Connection
    passed_connections: socket.socket
    serves: bool = False


class Processes:
    """Serves with several processes until SIGTERM or SIGINT, and lets them answer what they accepted.

    Args:
        settings: Of each process.
        listener: A bound socket; it is closed at the end.
        count: How many processes.
        on_ready: Called with the model's version when all of them serve for the first time.
    """

    def __init__(
        self, settings: ServingSettings, listener: socket.socket, count: int, on_ready: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._count = count
        self._on_ready = on_ready
        self._all_served = False
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            WatchnextError: One of the processes failed to start, or another service took the port meanwhile.
        """
        stop, stopper = multiprocessing.Pipe(duplex=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopper.send(None))
        if self._settings.api_keys_file is not None:
            signal.signal(signal.SIGHUP, lambda *_: self._pass_hangup())
        self._selector.register(stop, selectors.EVENT_READ)
        with _metrics_folder(), self._selector, stop, stopper:
            try:
                for _ in range(self._count):
                    self._start()
                while stop not in (sources := [key.fileobj for key, _ in self._selector.select()]):
                    for source in sources:
                        self._on_event(source)
                self._accept()  # connections that the kernel has already established
            finally:
                self._listener.close()
                self._stop()

    def _on_event(self, source: object) -> None:
        if source is self._listener:
            self._accept()
        else:
            self._on_message(next(worker for worker in self._workers if worker.status_pipe is source))

    def _on_message(self, worker: _Worker) -> None:
        """Handle what a process sent: a version once it serves, an error, or EOF when it has ended."""
        try:
            message: str | WatchnextError = worker.status_pipe.recv()
        except EOFError:
            message = self._reap(worker)
        if isinstance(message, str):
            worker.serves = True
            if not self._all_served and all(other.serves for other in self._workers):
                listen(self._listener)
                self._all_served = True
                self._listener.setblocking(False)
                self._selector.register(self._listener, selectors.EVENT_READ)
                self._on_ready(message)
        elif not self._all_served:
            raise message
        else:
            logger.error("%s", message)
        while self._all_served and len(self._workers) < self._count:
            self._start()  # takes seconds, which is pause enough if processes die at once

    def _pass_hangup(self) -> None:
        """Have every process read the API keys again; those that start ignore it, and read them anyway."""
        for worker in self._workers:
            if worker.process.pid is not None and worker.process.is_alive():
                os.kill(worker.process.pid, signal.SIGHUP)

    def _accept(self) -> None:
        """Accept the connections that wait, and pass each to a process."""
        while self._all_served:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                logger.error("expected to accept a connection, found %s", error)
                return
            with connection:
                self._pass_on(connection)

    def _pass_on(self, connection: socket.socket) -> None:
        for worker in list(self._workers):
            self._workers.append(self._workers.pop(0))  # round robin
            if worker.serves:
                try:
                    socket.send_fds(worker.passed_connections, [b"c"], [connection.fileno()])
                except OSError:  # the process has just died, or hangs
                    continue
                return

    def _start(self) -> None:
        status_pipe, child_status_pipe = multiprocessing.Pipe(duplex=False)
        passed_connections, child_connections = socket.socketpair()
        passed_connections.setblocking(False)
        process = _spawn.Process(
            target=serve_passed_connections, args=(self._settings, child_status_pipe, child_connections)
        )
        # Ctrl-C in a terminal reaches all processes. Only the supervisor handles it, and stops the others;
        # they inherit that it is ignored. So they do of SIGHUP until they can handle it.
        ignored = [signal.SIGINT] if self._settings.api_keys_file is None else [signal.SIGINT, signal.SIGHUP]
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
        process.start()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        child_status_pipe.close()
        child_connections.close()
        self._workers.append(_Worker(process, status_pipe, passed_connections))
        self._selector.register(status_pipe, selectors.EVENT_READ)

    def _reap(self, worker: _Worker) -> WatchnextError:
        """Clean up after a process that has ended; return the error that says so."""
        self._workers.remove(worker)
        self._selector.unregister(worker.status_pipe)
        worker.status_pipe.close()
        worker.passed_connections.close()
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
            worker.status_pipe.close()
            worker.passed_connections.close()


@contextmanager
def _metrics_folder() -> Iterator[None]:
    """Make the folder for the metrics of several processes, which inherit its name."""
    with tempfile.TemporaryDirectory(prefix="watchnext-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER_VARIABLE]
