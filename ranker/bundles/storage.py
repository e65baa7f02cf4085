"""Where a registry keeps its files: on this machine's disks, or wherever fsspec reaches.

Names are paths below the registry, such as `bundles/VERSION/manifest.json`.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ranker.errors import FileError, RegistryError
from ranker.files.location import Location
from ranker.files.regular import read_regular
from ranker.files.secrets import censored, shown
from ranker.files.whole import sync, write_whole

ASIDE: Final = ".fresh-"
"""Begins the name of a folder that is being written or removed."""
LEFTOVER_S: Final = 86_400
"""A folder aside that is older was left by a process that was killed."""


class Storage(ABC):
    """The files of a registry.

    Whatever goes wrong, apart from a file that is not there, is a RegistryError that names the file.

    Args:
        url: The registry, for messages.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            FileNotFoundError: There is no such file.
            RegistryError: It cannot be read.
        """
        with self._naming(name, passing=FileNotFoundError):
            return self._read(name)

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, in any order; none if it is not there."""
        try:
            with self._naming(folder, passing=FileNotFoundError):
                return self._names(folder)
        except FileNotFoundError:
            return []

    def add_folder(self, folder: str, contents: Mapping[str, bytes], *, last: str) -> None:
        """Write a folder whose files never change; it counts once its last file is there."""
        with self._naming(folder):
            self._add_folder(folder, contents, last)

    def remove_folder(self, folder: str, *, first: str) -> None:
        """Remove a folder; it no longer counts once its first file is gone."""
        with self._naming(folder):
            self._remove_folder(folder, first)

    def replace(self, name: str, content: bytes) -> None:
        """Write a file in one step."""
        with self._naming(name):
            self._replace(name, content)

    def check_writable(self) -> None:
        """Try that files can be written; nothing stays.

        Raises:
            RegistryError: They cannot.
        """
        with self._naming(""):
            self._check_writable()

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Tell other processes of this machine that a file is in use; see `is_held`."""
        yield

    def is_held(self, name: str) -> bool:
        """Whether a living process of this machine uses a file; False where that cannot be known."""
        return False

    def remove_leftovers(self) -> None:  # noqa: B027 (elsewhere than on a disk nothing is left)
        """Remove what killed processes have left."""

    @contextmanager
    def _naming(
        self, name: str, *, passing: type[Exception] | tuple[type[Exception], ...] = ()
    ) -> Iterator[None]:
        """Turn errors, but for those that pass, into one that names a file."""
        try:
            yield
        except passing:
            raise
        except FileError as error:
            raise RegistryError(str(error)) from error
        except Exception as error:  # every filesystem has errors of its own
            found = getattr(error, "strerror", None) or f"{error}" or type(error).__name__
            where = "/".join(part for part in (shown(self._url), name) if part)
            raise RegistryError(
                f"{where}: expected a registry that can be read and written, "
                f"found: {censored(' '.join(found.split()), [self._url])}"
            ) from error

    @abstractmethod
    def _read(self, name: str) -> bytes: ...

    @abstractmethod
    def _names(self, folder: str) -> list[str]: ...

    @abstractmethod
    def _add_folder(self, folder: str, contents: Mapping[str, bytes], last: str) -> None: ...

    @abstractmethod
    def _remove_folder(self, folder: str, first: str) -> None: ...

    @abstractmethod
    def _replace(self, name: str, content: bytes) -> None: ...

    @abstractmethod
    def _check_writable(self) -> None: ...


class LocalStorage(Storage):
    """A folder: what is written appears by a rename.

    Args:
        url: The registry, for messages.
        root: The folder.
    """

    def __init__(self, url: str, root: Path) -> None:
        super().__init__(url)
        self._root = root

    def _read(self, name: str) -> bytes:
        return read_regular(self._root / name)

    def _names(self, folder: str) -> list[str]:
        return os.listdir(self._root / folder)

    def _add_folder(self, folder: str, contents: Mapping[str, bytes], last: str) -> None:
        target = self._root / folder
        aside = self._aside()
        aside.mkdir(parents=True)
        try:
            for name in sorted(contents, key=lambda name: name == last):
                (aside / name).write_bytes(contents[name])
                sync(aside / name)
            target.parent.mkdir(exist_ok=True)
            os.replace(aside, target)
        except OSError:
            if not (target / last).exists():  # else another process added this folder first
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        sync(target.parent)

    def _remove_folder(self, folder: str, first: str) -> None:
        aside = self._aside()
        os.replace(self._root / folder, aside)
        shutil.rmtree(aside)

    def _replace(self, name: str, content: bytes) -> None:
        write_whole(self._root / name, content)

    def _check_writable(self) -> None:
        for folder in (self._root, self._root / "bundles"):
            while not os.path.lexists(folder):
                folder = folder.parent
            with tempfile.TemporaryFile(dir=folder):
                pass

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Hold a shared lock of the file, which the kernel releases when this process ends."""
        try:
            descriptor = os.open(self._root / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # whoever reads it says why
            yield
            return
        try:
            with contextlib.suppress(OSError):  # a filesystem without locks
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)

    def is_held(self, name: str) -> bool:
        """Whether a process has a lock of the file."""
        try:
            try:  # network filesystems want it open for writing
                descriptor = os.open(self._root / name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            except PermissionError:
                descriptor = os.open(self._root / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # whoever reads it says why
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return False

    def remove_leftovers(self) -> None:
        """Remove folders aside that are too old to be in work."""
        for folder in self._root.glob(f"{ASIDE}*"):
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > LEFTOVER_S:
                    shutil.rmtree(folder)

    def _aside(self) -> Path:
        return self._root / f"{ASIDE}{uuid.uuid4().hex}"


class RemoteStorage(Storage):
    """Any filesystem of fsspec: a folder's last file is written last, and its first one removed first.

    Args:
        url: The registry, for messages.
        location: The filesystem and the path in it.
    """

    def __init__(self, url: str, location: Location) -> None:
        super().__init__(url)
        self._files: Any = location.files
        self._root = location.path.rstrip("/")

    def _read(self, name: str) -> bytes:
        return bytes(self._files.cat_file(f"{self._root}/{name}"))

    def _names(self, folder: str) -> list[str]:
        self._files.invalidate_cache()
        entries = self._files.ls(f"{self._root}/{folder}", detail=False)
        return [str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries]

    def _add_folder(self, folder: str, contents: Mapping[str, bytes], last: str) -> None:
        for name in sorted(contents, key=lambda name: name == last):
            self._files.pipe_file(f"{self._root}/{folder}/{name}", contents[name])

    def _remove_folder(self, folder: str, first: str) -> None:
        self._files.rm_file(f"{self._root}/{folder}/{first}")
        self._files.rm(f"{self._root}/{folder}", recursive=True)

    def _replace(self, name: str, content: bytes) -> None:
        self._files.pipe_file(f"{self._root}/{name}", content)

    def _check_writable(self) -> None:
        probe = f"{self._root}/.writable"
        self._files.pipe_file(probe, b"")
        with contextlib.suppress(Exception):  # a store that may be written but not removed from
            self._files.rm_file(probe)


def open_storage(url: str, location: Location) -> Storage:
    """Return the storage of a registry's URL."""
    return LocalStorage(url, Path(location.path)) if location.is_local else RemoteStorage(url, location)
