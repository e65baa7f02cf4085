"""Where a path or URL leads: one reading of it for registries, logs, specs, keys and data folders.

`~/reg`, `file:reg`, `file:///tmp/reg`, `local:reg` and `local:///tmp/reg` are names of a local path, as a
path without a scheme is. Whatever else has a scheme is for fsspec.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ranker.errors import LocationError
from ranker.files.secrets import censored, shown

LOCAL_SCHEMES: Final = ("file://", "local://", "file:", "local:")


class Location(NamedTuple):
    """A filesystem of fsspec, and a path in it."""

    files: Any
    path: str

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's disks."""
        return isinstance(self.files, LocalFileSystem)


def plain(url: str) -> str:
    """Return a local path that is spelled with a scheme or `~` as a plain path; all else as it is.

    Raises:
        LocationError: There is no user of the name after `~`, or no path after the scheme.
    """
    path = url
    for scheme in LOCAL_SCHEMES:
        if url.lower().startswith(scheme):
            path = url[len(scheme) :]
            break
    if not path and url:
        raise LocationError(f"{url}: expected a path after the scheme, found none")
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise LocationError(
            f"{url}: expected a user's home after '~', found no such user; "
            f"write ./{path} for a file of that name"
        ) from error


def local_path(url: str | Path) -> Path:
    """Return the local path that a path or URL names.

    Raises:
        LocationError: It is a URL of something that is not on this machine's disks.
    """
    path = plain(str(url))
    if "://" in path:
        raise LocationError(f"{shown(path)}: expected a path on this machine, found a URL")
    return Path(path)


def locate(url: str) -> Location:
    """Return the filesystem of a path or URL, and the path in it; nothing is looked for yet.

    Raises:
        LocationError: fsspec does not support the URL, lacks a package for it, or its options are wrong.
    """
    try:
        return Location(*fsspec.core.url_to_fs(plain(url)))
    except LocationError:
        raise
    except Exception as error:  # each filesystem has errors of its own, such as TypeError for an option
        found = censored(" ".join(str(error).split()), [url])
        raise LocationError(f"{shown(url)}: expected a file, folder or fsspec URL, found: {found}") from error
