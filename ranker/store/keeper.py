"""Run a private Redis server for as long as somebody uses it.

`ranker/store/embedded.py` starts this file as a program of its own: it goes to the background, starts
redis-server and waits for an exclusive lock on `users.lock`. Every user holds that file with a shared lock,
which the kernel drops however the user ends, SIGKILL included; so the wait ends with the last user, and the
server with the wait. Only the standard library is imported, to keep the waiting process small.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

STOP_TIMEOUT_S = 60
"""Redis writes its last changes to the disk before it ends."""
LONGEST_TEMP_DIR = 60
"""Characters; a unix socket's whole path must stay below 104 (macOS) or 108 (Linux)."""


def keep(executable: str, folder: Path, server_lock: int) -> None:
    """Start the server, wait until nobody uses it, stop it.

    Args:
        executable: Path of redis-server.
        folder: Where its data, its log and the lock files are.
        server_lock: Descriptor of the locked `server.lock`; the server inherits it, so that the file is
            locked exactly as long as a server lives.
    """
    address = folder / "socket"
    if address.exists():
        _remove_socket(Path(address.read_text(encoding="utf-8")))
    socket = Path(tempfile.mkdtemp(prefix="watchnext-", dir=_short_temp_dir())) / "redis.sock"
    draft = folder / "socket.new"
    draft.write_text(str(socket), encoding="utf-8")
    draft.replace(address)
    listen = ["--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"]
    persist = ["--dir", str(folder), "--appendonly", "yes", "--save", ""]
    with (folder / "redis.log").open("wb") as log:
        server = subprocess.Popen(
            [executable, *listen, *persist], stdout=log, stderr=log, pass_fds=[server_lock]
        )
    os.close(server_lock)
    with (folder / "users.lock").open("rb") as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        server.terminate()
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        _remove_socket(socket)


def _short_temp_dir() -> str:
    folder = tempfile.gettempdir()
    return folder if len(folder) <= LONGEST_TEMP_DIR else "/tmp"


def _remove_socket(socket: Path) -> None:
    with contextlib.suppress(OSError):  # whoever cleans the temporary folder may have been here first
        socket.unlink(missing_ok=True)
        socket.parent.rmdir()


if __name__ == "__main__":
    os.umask(0o077)
    if os.fork() == 0:
        keep(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
