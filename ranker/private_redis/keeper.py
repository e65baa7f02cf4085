"""Supervise the private Redis server: keep it running while it has users, then stop it.

`ranker/private_redis/server.py` runs this file as a daemon. The kernel releases a process's file locks when
it ends, however it ends, so three locks are the only state:

- `users.lock` is held, shared, by every user; the keeper runs until it gets the lock exclusively.
- `keeper.lock` is held by the keeper. Only its holder starts and stops servers.
- `server.lock` is held by the running server and contains its process id.

A server that ends while it has users is started again on the same socket with its data, and their clients
connect again. A server outlives a keeper that is killed; the next keeper takes it over. Only the standard
library is imported, to keep the idle process small.

What the server acknowledged is with the kernel, so a kill loses none of it: `appendfsync no`. With `everysec`
Redis acknowledges before it writes while the disk is being synced. The keeper syncs every second instead, so
that a power failure loses what came within about a second.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

POLL_S = 0.05
"""Pause between two checks of the server and its users."""
MAX_FAILED_STARTS = 4
"""The keeper gives up after so many starts in a row without an answer."""
BACK_OFF_S = 0.1
"""Pause after the first failed start; it doubles with every further one."""
SYNC_S = 1.0
"""Pause between two syncs of the server's data."""
STOP_TIMEOUT_S = 60
"""Time for Redis to write its last changes to the disk; then it is killed."""


def keep(executable: str, folder: Path, address: Path) -> None:
    """Keep the server running until it has no users, then stop it; give up if it cannot start.

    The process inherits `keeper.lock`, locked, from the user that starts it, and releases it by ending.

    Args:
        executable: Path of redis-server.
        folder: The server's data, its log and the lock files.
        address: Path of the socket, in a folder of its own.
    """
    users = os.open(folder / "users.lock", os.O_RDWR)
    server_lock = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT)
    listen = ["--port", "0", "--unixsocket", str(address), "--unixsocketperm", "700"]
    persist = ["--dir", str(folder), "--appendonly", "yes", "--appendfsync", "no", "--save", ""]
    failures = 0
    server = None
    synced = time.monotonic()
    while _in_use(users):
        if _is_running(server_lock):
            if failures and answers(address):
                failures = 0
        elif failures == MAX_FAILED_STARTS:
            break
        else:
            time.sleep(BACK_OFF_S * (2**failures - 1))
            for draft in folder.glob("temp-*"):  # of a server that was killed in a rewrite
                draft.unlink()
            server = _start([executable, *listen, *persist], server_lock)
            failures += 1
        if time.monotonic() - synced > SYNC_S:
            _sync(folder / "appendonly.aof")
            synced = time.monotonic()
        time.sleep(POLL_S)
    else:
        _stop(server_lock)
        if server is not None:
            server.wait()
        (folder / "socket").unlink(missing_ok=True)  # kept after giving up: users still read it
    with contextlib.suppress(OSError):  # the temporary folder may have been cleaned
        address.unlink(missing_ok=True)
        address.parent.rmdir()


def answers(address: Path) -> bool:
    """Whether a server that has read its data answers at a socket."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(address))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _sync(data: Path) -> None:
    """Wait until a file is on the disk, if there is one."""
    with contextlib.suppress(OSError):
        descriptor = os.open(data, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _in_use(users: int) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _is_running(server_lock: int) -> bool:
    try:
        fcntl.lockf(server_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.lockf(server_lock, fcntl.LOCK_UN)
    return False


def _start(command: list[str], server_lock: int) -> subprocess.Popen[bytes]:
    def lock() -> None:
        # lockf, not flock: a child inherits flock's locks, and Redis's children outlive a killed server
        fcntl.lockf(server_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(server_lock, 0)
        os.pwrite(server_lock, str(os.getpid()).encode(), 0)

    return subprocess.Popen(command, preexec_fn=lock, pass_fds=[server_lock])


def _stop(server_lock: int) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _is_running(server_lock):
        late = time.monotonic() > deadline
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(os.pread(server_lock, 20, 0)), signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(POLL_S)


if __name__ == "__main__":
    os.umask(0o077)
    if os.fork() == 0:
        keep(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
