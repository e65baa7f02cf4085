"""Which files a folder, a glob or a URL names, by the conventions of Spark and Hive.

Below the root, names that begin with `.` or `_` are hidden: they hold what is not committed yet, or is kept
beside the data, such as `_temporary`, `.hive-staging` and `._part.parquet`. A folder of a partition, such as
`_day=1`, is not hidden (Spark's `HadoopFSUtils.shouldFilterOutPathName`). A glob reads what it spells itself,
such as `log/_old/*.parquet`.

Linked files and folders of a local disk are followed, and every file is read once, by whatever names it is
found.
"""

import os
import posixpath
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch

import fsspec
from fsspec.core import has_magic
from fsspec.implementations.local import LocalFileSystem

from ranker.errors import LocationError, SourceError
from ranker.files.location import locate
from ranker.files.secrets import censored, shown

SUFFIX = ".parquet"
_SHOWN = 3


@dataclass
class FoundFiles:
    """The files that a URL names.

    Attributes:
        filesystem: Where they are.
        root: The folder that they are in or below.
        paths: Each file once, sorted.
        hidden: Files and folders that were left out because their names are hidden.
        doubles: Files and folders that were left out because they are links to others that are read.
    """

    filesystem: fsspec.AbstractFileSystem
    root: str
    paths: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)

    def names_below_root(self, path: str) -> list[str]:
        """The names of the folders from the root to a file, and the file's own."""
        return path.removeprefix(self.root).strip("/").split("/")

    @property
    def left_out(self) -> str:
        """What was left out and why, for a message; empty if nothing was."""
        parts = []
        if self.hidden:
            parts.append(f"left out {_some(self.hidden)}: hidden, as names with . or _ in front are")
        if self.doubles:
            parts.append(f"left out {_some(self.doubles)}: a link to what is read already")
        return "; ".join(parts)


def find_files(url: str) -> FoundFiles:
    """Find the Parquet files of a log.

    Args:
        url: A file, a folder (searched through all its folders for *.parquet), a glob or an fsspec URL.

    Raises:
        SourceError: The URL cannot be read.
    """
    try:
        filesystem, path = locate(url)
        if filesystem.exists(path):
            found = FoundFiles(filesystem, path if filesystem.isdir(path) else posixpath.dirname(path))
            matches = [path]
        else:
            found = FoundFiles(filesystem, _literal_folder(path))
            matches = sorted(filesystem.glob(path))
            found.hidden = [match for match in matches if _hidden_from(path, match)]
        for match in matches:
            if match not in found.hidden:
                found.paths += _below(found, match) if filesystem.isdir(match) else [match]
        _drop_doubles(found)
    except SourceError:
        raise
    except LocationError as error:
        raise SourceError(str(error)) from error
    except Exception as error:  # every filesystem has errors of its own
        what = censored(" ".join(str(error).split()), [url])
        raise SourceError(
            f"{shown(url)}: expected a file, folder, glob or fsspec URL, found: {what}"
        ) from error
    return found


def has_files(folder: str) -> bool:
    """Whether a local folder has a Parquet file that is not hidden."""
    if not os.path.isdir(folder):
        return False
    return next(_below(FoundFiles(LocalFileSystem(), folder), folder), None) is not None


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is no part of the data."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _literal_folder(pattern: str) -> str:
    names = posixpath.dirname(pattern).split("/")
    return "/".join(names[: next((place for place, name in enumerate(names) if has_magic(name)), None)])


def _hidden_from(pattern: str, path: str) -> bool:
    """Whether a path has hidden names that its glob does not spell."""
    spelled = [part for part in pattern.split("/") if is_hidden(part)]
    return any(
        is_hidden(name) and not any(fnmatch(name, part) for part in spelled) for name in path.split("/")
    )


def _below(found: FoundFiles, folder: str) -> Iterator[str]:
    """Yield the Parquet files in a folder and its folders; hidden and doubled ones are noted in `found`."""
    if isinstance(found.filesystem, LocalFileSystem):
        yield from _below_local(found, folder)
        return
    for path in found.filesystem.find(folder):
        if _is_parquet(path):
            names = path.removeprefix(folder).strip("/").split("/")
            if any(map(is_hidden, names)):
                found.hidden.append(path)
            else:
                yield path


def _below_local(found: FoundFiles, root: str) -> Iterator[str]:
    folders, links = [root], list[str]()
    entered = set[str]()
    while folders or links:
        folder = folders.pop() if folders else links.pop()  # links last, so that files keep their own names
        real = os.path.realpath(folder)
        if real in entered:  # another link leads here, or a link leads back to a folder that it is in
            found.doubles.append(folder)
            continue
        entered.add(real)
        for name in sorted(os.listdir(folder)):
            path = posixpath.join(folder, name)
            is_folder = os.path.isdir(path)
            if not is_folder and not _is_parquet(name):
                continue
            if is_hidden(name):
                found.hidden.append(path)
            elif is_folder:
                (links if os.path.islink(path) else folders).append(path)
            else:
                yield path


def _drop_doubles(found: FoundFiles) -> None:
    """Sort the paths, and keep one of each local file: its own name if that was found.

    Raises:
        SourceError: A path is no file, such as a pipe, which would be waited for for ever.
    """
    if not isinstance(found.filesystem, LocalFileSystem):
        found.paths.sort()
        return
    names: dict[Hashable, str] = {}
    for path in sorted(found.paths, key=lambda path: (os.path.realpath(path) != path, path)):
        if os.path.exists(path) and not os.path.isfile(path):
            raise SourceError(f"{path}: expected a regular file, found a pipe or a device")
        if names.setdefault(_identity(path), path) != path:
            found.doubles.append(path)
    found.paths = sorted(names.values())


def _identity(path: str) -> Hashable:
    """What all names of a local file share, those of hard links as well."""
    try:
        found = os.stat(path)
    except OSError:  # reading it says what is wrong
        return path
    return found.st_dev, found.st_ino


def _is_parquet(name: str) -> bool:
    return name.lower().endswith(SUFFIX)


def _some(paths: list[str]) -> str:
    shown = ", ".join(paths[:_SHOWN])
    return shown if len(paths) <= _SHOWN else f"{shown} and {len(paths) - _SHOWN} more"
