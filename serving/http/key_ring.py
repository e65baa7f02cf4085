"""The API keys that are known at the moment: those of the file, which is looked at again and again.

A key that is taken out of the file is refused within a second, in every process, and a new one is known. So a
lost key is revoked without a restart. SIGHUP is not needed for that; it has the file read again, and the log
says so.
"""

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ranker.errors import UserError
from serving.http.auth import ApiKey
from serving.http.key_file import read_keys

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.25
"""Seconds between two looks at the file."""
FileMark = tuple[int, int, int, int, int]


class KeyRing:
    """The known keys.

    A file that cannot be read, or does not parse, leaves the keys as they are, and the log says so.

    Args:
        keys: Those that are known at first.
        path: The file that they came from, and that others come from later; None if they stay.
    """

    def __init__(self, keys: Sequence[ApiKey], path: Path | None) -> None:
        self._keys = tuple(keys)
        self._path = path
        self._seen: FileMark | None = None
        self._complaint = ""
        self._started = False
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self) -> tuple[ApiKey, ...]:
        """The keys that are known now."""
        return self._keys

    def start(self) -> None:
        """Begin to look at the file, in a thread: an event loop that is busy must not delay a revocation."""
        self.look()
        self._started = True
        if self._path is not None:
            self._thread = threading.Thread(target=self._follow, name="keys", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Look no more; a look that waits for a disk is not waited for."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(LOOK_S)

    def read_again(self) -> None:
        """Read the file at the next look, changed or not."""
        self._seen, self._complaint = None, ""

    def look(self) -> None:
        """Read the file if it is another one than before."""
        if self._path is None:
            return
        try:
            mark = _mark(self._path)
            if mark == self._seen:
                return
            keys = read_keys(self._path)
        except UserError as error:
            self._complain(str(error))
            self._seen = mark
            return
        except OSError as error:
            self._complain(f"{self._path}: expected a file of API keys, found: {error.strerror}")
            self._seen = None
            return
        self._seen, self._complaint = mark, ""
        if self._started or keys != self._keys:
            names = [{key.name for key in some} for some in (keys, self._keys)]
            logger.info(
                "%s: %d keys; new: %s; gone: %s",
                self._path,
                len(keys),
                ", ".join(sorted(names[0] - names[1])) or "none",
                ", ".join(sorted(names[1] - names[0])) or "none",
            )
        self._keys = keys

    def _follow(self) -> None:
        while not self._closed.wait(LOOK_S):
            try:
                self.look()
            except Exception:  # whatever is wrong with the file, the thread goes on
                logger.exception("%s: the keys stay as they are", self._path)

    def _complain(self, complaint: str) -> None:
        """Log what is wrong, once."""
        if complaint != self._complaint:
            logger.error("%s; the keys stay as they are", complaint)
        self._complaint = complaint


def _mark(path: Path) -> FileMark:
    """What changes when a file is written or replaced."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
