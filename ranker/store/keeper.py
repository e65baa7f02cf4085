"""Keep a private Redis server running for as long as somebody uses it.

`ranker/store/embedded.py` starts this file as a program of its own, which goes to the background. Three locks
of the kernel say what is true at any time, whoever was killed:

- `users.lock` is held, shared, by every user; the keeper stays until it gets it for itself.
- `keeper.lock` is held by the keeper. Only its holder starts and stops servers.
- `server.lock` is held by the living server, which has written its process id into it.

A server that ends while it has users is started again on the same socket, where it reads its data back and
their clients find it. A keeper that is killed leaves its server running; the next keeper takes it over as it
is. Only the standard library is imported, to keep the waiting process small.
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
"""How often the keeper looks after its server and its users."""
LONGEST_RUN_OF_FAILURES = 4
"""Starts in a row after which the server never answered; then the keeper gives up."""
BACK_OFF_S = 0.1
"""Pause after the first of them; it doubles with every further one."""
STOP_TIMEOUT_S = 60
"""Redis writes its last changes to the disk before it ends."""


def keep(executable: str, folder: Path, address: Path) -> None:
    """See that the server runs until nobody uses it, then stop it; or give up if it cannot run.

    Whoever starts the keeper has locked `keeper.lock`; the process inherits the lock and drops it by ending.

    Args:
        executable: Path of redis-server.
        folder: Where its data, its log and the lock files are.
        address: Path of the socket, in a folder of its own.
    """
    users = os.open(folder / "users.lock", os.O_RDWR)
    server_lock = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT)
    listen = ["--port", "0", "--unixsocket", str(address), "--unixsocketperm", "700"]
    persist = ["--dir", str(folder), "--appendonly", "yes", "--save", ""]
    failures = 0
    server = None
    while _in_use(users):
        if _lives(server_lock):
            if failures and answers(address):
                failures = 0
        elif failures == LONGEST_RUN_OF_FAILURES:
            break
        else:
            time.sleep(BACK_OFF_S * (2**failures - 1))
            for draft in folder.glob("temp-*"):  # a server that was killed while it wrote its file anew
                draft.unlink()
            server = _start([executable, *listen, *persist], server_lock)
            failures += 1
        time.sleep(POLL_S)
    else:
        _stop(server_lock)
        if server is not None:
            server.wait()
        (folder / "socket").unlink(missing_ok=True)  # it stays if we gave up: users still look there
    with contextlib.suppress(OSError):  # whoever cleans the temporary folder may have been here first
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


def _in_use(users: int) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _lives(server_lock: int) -> bool:
    try:
        fcntl.lockf(server_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.lockf(server_lock, fcntl.LOCK_UN)
    return False


def _start(command: list[str], server_lock: int) -> subprocess.Popen[bytes]:
    def lock() -> None:
        # lockf, not flock: the children in which Redis rewrites its files outlive a killed server,
        # and would go on holding what they inherit
        fcntl.lockf(server_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(server_lock, 0)
        os.pwrite(server_lock, str(os.getpid()).encode(), 0)

    return subprocess.Popen(command, preexec_fn=lock, pass_fds=[server_lock])


def _stop(server_lock: int) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _lives(server_lock):
        late = time.monotonic() > deadline
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(os.pread(server_lock, 20, 0)), signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(POLL_S)


if __name__ == "__main__":
    os.umask(0o077)
    if os.fork() == 0:
        keep(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
