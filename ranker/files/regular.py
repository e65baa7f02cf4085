"""Reading what is a file: a pipe or a device in its place would make the reader wait for ever."""

import os
import stat
from pathlib import Path

from ranker.errors import FileError


def read_regular(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        FileNotFoundError: There is none.
        FileError: It is no regular file.
        OSError: It cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileError(f"{path}: expected a regular file, found a pipe, a device or a folder")
    with open(descriptor, "rb") as file:
        return file.read()
