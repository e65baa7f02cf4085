"""Writing a file whole or not at all: beside the old one, to the disk, then in its place."""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ranker.errors import FileError


@contextmanager
def replacing(path: Path, *, mode: int | None = None) -> Iterator[Path]:
    """Give a fresh path beside a file; what the block writes there then takes the file's place in one step.

    If the block fails, the fresh file is removed and the old one stays. Two writers at once do not disturb
    each other: the last one to finish stays. A file that is a link's target is replaced, not the link.

    Args:
        path: The file, which may not exist yet.
        mode: Permissions of a new file; a file that is replaced keeps its own, and its owner where the system
            allows it.

    Yields:
        A path in the same folder.

    Raises:
        FileError: It cannot be written, such as on a full disk.
    """
    target = Path(os.path.realpath(path))
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex}.new")
    try:
        with naming(path):
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
            os.close(descriptor)
            _take_after(target, fresh)
            yield fresh
            sync(fresh)
            os.replace(fresh, target)
            sync(target.parent)
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Write a file whole or not at all; see `replacing`."""
    with replacing(path, mode=mode) as fresh:
        fresh.write_bytes(content)


def remove_leftovers(path: Path) -> None:
    """Remove what killed writers of a file have left beside it; nobody may be writing it."""
    for fresh in path.parent.glob(f".{path.name}.*.new"):
        fresh.unlink(missing_ok=True)


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Let the operating system's errors in the block name the file or folder that it works on.

    Raises:
        FileError: In place of an OSError, or of the one of safetensors, which name no file.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        found = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise FileError(f"{path}: expected a place that can be read and written, found: {found}") from error


def _take_after(target: Path, fresh: Path) -> None:
    """Give a fresh file the owner and the permissions of the one whose place it will take."""
    with contextlib.suppress(FileNotFoundError):
        old, new = target.stat(), fresh.stat()
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            with contextlib.suppress(PermissionError):
                os.chown(fresh, old.st_uid, old.st_gid)
        os.chmod(fresh, old.st_mode & 0o7777)


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk; some filesystems cannot say so of folders."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)
