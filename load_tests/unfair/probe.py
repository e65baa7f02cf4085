"""The longest silence of a service: how long it takes to answer /healthz, asked again and again.

    python -m load_tests.unfair.probe HOST PORT

It asks until its standard input ends, and then prints the longest time to an answer, in milliseconds.
"""

import select
import socket
import subprocess
import sys
import time
from typing import Self

from load_tests.environment import ROOT

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Probe:
    """Asks from a process of its own while the context lasts.

    Attributes:
        longest_ms: The longest time to an answer, once the context is over.
    """

    def __init__(self, host: str, port: int) -> None:
        self._command = [sys.executable, "-m", "load_tests.unfair.probe", host, str(port)]
        self.longest_ms = 0.0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it has begun
        return self

    def __exit__(self, *_: object) -> None:
        self.longest_ms = float(self._process.communicate(timeout=60)[0])


def main() -> None:
    """Ask until standard input ends."""
    host, port = sys.argv[1], int(sys.argv[2])
    longest_s = 0.0
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            begun = time.perf_counter()
            connection.sendall(REQUEST)
            if not connection.recv(65536):
                raise ConnectionError("the service closed the connection")
            longest_s = max(longest_s, time.perf_counter() - begun)
            time.sleep(0.001)  # takes little from what is measured
    print(longest_s * 1000)


if __name__ == "__main__":
    main()
