"""Locks between processes that the kernel releases when their holder ends, however it ends.

A lock is a file beside what it protects. It says who holds it, for the message of whoever comes second.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ranker.errors import LockedError
from ranker.files.whole import naming

logger = logging.getLogger(__name__)

POLL_S: Final = 0.05
UNSUPPORTED: Final = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What a filesystem without locks answers."""


@contextmanager
def locked(path: Path, what: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock, alone among all processes of this machine (with most network filesystems, of all).

    Args:
        path: The lock's file; created, and removed at the end.
        what: What the lock protects, for the message.
        wait_s: How long to wait for another holder.

    Raises:
        LockedError: Another process holds it; the message says which one, where and since when.
        FileError: The file cannot be written.
    """
    descriptor = _acquired(path, what, time.monotonic() + wait_s)
    try:
        yield
    finally:
        # Whoever waits for this file finds, once it has the lock, that it is gone, and takes the next one.
        if _is_file_at(path, descriptor):
            with contextlib.suppress(OSError):
                path.unlink()
        os.close(descriptor)


def _acquired(path: Path, what: str, deadline: float) -> int:
    while True:
        with naming(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            if time.monotonic() >= deadline:
                raise LockedError(f"{what}: {holder}; wait for it or stop it") from None
            time.sleep(POLL_S)
            continue
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                os.close(descriptor)
                raise
            logger.warning("%s cannot be locked here: see that no other process writes", what)
        if _is_file_at(path, descriptor):
            _sign(descriptor)
            return descriptor
        os.close(descriptor)


def _is_file_at(path: Path, descriptor: int) -> bool:
    """Whether an open file still has its name: its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    """Write who holds the lock; a full disk does not keep anybody from holding it."""
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    signature = {"process": os.getpid(), "host": socket.gethostname(), "since": since}
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(signature).encode(), 0)
    except OSError as error:
        logger.debug("a lock says not who holds it: %s", error)


def _holder(descriptor: int) -> str:
    try:
        found: Any = json.loads(os.pread(descriptor, 4096, 0))
        return (
            f"process {int(found['process'])} on {found['host']} has been writing it since {found['since']}"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another process is writing it"
