"""Loops over rows in machine code, for what cannot be brought up to date by whole columns.

numba's disk cache is invalidated by a function's own file only, not by the files it calls. So compiled code
is kept in a folder that is named by a digest of all files with such loops: a change of any of them begins a
new folder. A constant that a loop uses has to stand in one of these files as well.
"""

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba

logger = logging.getLogger(__name__)
config: Any = numba.config
Kernel = TypeVar("Kernel", bound=Callable[..., Any])
PACKAGE: Final = Path(__file__).parent
MARK: Final = b"\n@compiled\n"
"""What a file with loops has in it."""
PREFIX: Final = "compiled-"
MAX_FOLDERS: Final = 4
"""Folders of earlier versions that are kept, with that of this one."""


def compiled(function: Kernel) -> Kernel:
    """Compile a function of numbers, arrays and named tuples of arrays at its first call.

    What was compiled is kept beside the source, or in the user's cache if that cannot be written; where
    neither can be, every process compiles anew. Compiled code does not hold the interpreter's lock.
    """
    folder = cache_folder()
    with _kept_in(folder):
        return cast(Kernel, numba.njit(cache=folder is not None, nogil=True, error_model="numpy")(function))


@cache
def cache_folder() -> Path | None:
    """Where compiled code is kept; None if no folder can be written.

    `NUMBA_CACHE_DIR` names another folder than those two, as it does for all code that numba compiles.
    """
    named = [Path(config.CACHE_DIR)] if config.CACHE_DIR else []
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    for base in named or (PACKAGE / "__pycache__", Path(home) / "watchnext"):
        folder = base / f"{PREFIX}{sources_digest()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.touch()  # the newest folders are kept
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            _remove_oldest(base)
            return folder
    logger.debug("compiled code is not kept: no folder can be written")
    return None


def sources_digest() -> str:
    """12 hexadecimal digits of all files of the package that have compiled loops."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        content = path.read_bytes()
        if MARK in content:
            digest.update(f"{path.relative_to(PACKAGE)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def _remove_oldest(base: Path) -> None:
    with contextlib.suppress(OSError):  # another process may be doing the same
        folders = sorted(base.glob(f"{PREFIX}*"), key=lambda folder: folder.stat().st_mtime)
        for folder in folders[:-MAX_FOLDERS]:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _kept_in(folder: Path | None) -> Iterator[None]:
    """Let numba keep in this folder what is declared in the context."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder or "")
    try:
        yield
    finally:
        config.CACHE_DIR = before
