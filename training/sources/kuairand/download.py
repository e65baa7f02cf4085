"""Download of KuaiRand-Pure from Zenodo.

pooch is not used because it cannot resume: its `HTTPDownloader` (1.9) sends no Range header, and truncates
the file that it writes to.
"""

import hashlib
import http.client
import os
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from ranker.errors import SourceError

URL = "https://zenodo.org/records/10439422/files/KuaiRand-Pure.tar.gz"
MD5 = "0820331067a3784d9691136f772b35a7"
FOLDER = "KuaiRand-Pure"

_READ_BYTES = 1 << 20
_TIMEOUT_S = 60


def download_kuairand(out: Path, *, url: str = URL, md5: str = MD5) -> Path:
    """Download KuaiRand-Pure, check it, and unpack it.

    The archive is written to `KuaiRand-Pure.tar.gz.part`, from which an interrupted download resumes. Once
    its md5 is verified, it is unpacked to a temporary folder, which is then renamed; so the folder is
    complete or absent. If it exists already, nothing is downloaded.

    Args:
        out: Parent of the folder `KuaiRand-Pure`; created if it does not exist.
        url: URL of the archive.
        md5: Expected md5 of the archive, in hexadecimal.

    Returns:
        The folder, for `KuaiRandSource`.

    Raises:
        SourceError: The server cannot be reached or ends the connection early, the md5 differs, the archive
            lacks the folder, or `out` cannot be written.
    """
    folder, part = out / FOLDER, out / f"{FOLDER}.tar.gz.part"
    if folder.is_dir():
        return folder
    try:
        out.mkdir(parents=True, exist_ok=True)
        _fetch(url, part)
        found = _md5(part)
        if found != md5:
            part.unlink()
            raise SourceError(
                f"{url}: expected an archive with md5 {md5}, found {found}; deleted it, try again"
            )
        _unpack(part, folder)
        part.unlink()
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise SourceError(
            f"{url}: expected to download it, found: {error}; run the command again to go on where it stopped"
        ) from error
    except OSError as error:
        raise SourceError(f"{out}: expected a folder that can be written, found: {error}") from error
    return folder


def _fetch(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the file is complete; its md5 is verified next
        raise
    with response, _progress() as progress:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        task = progress.add_task(part.name.removesuffix(".part"), total=total, completed=have)
        with part.open("ab" if resumed else "wb") as file:
            while block := response.read(_READ_BYTES):
                file.write(block)
                have += len(block)
                progress.update(task, completed=have)
    if total is not None and have < total:
        raise ConnectionError(f"the connection ended after {have} of {total} bytes")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder.parent) as aside:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(aside, filter="data")
        except tarfile.TarError as error:
            raise SourceError(f"{archive}: expected an archive with safe paths, found: {error}") from error
        if not (Path(aside) / FOLDER).is_dir():
            names = ", ".join(sorted(path.name for path in Path(aside).iterdir()))
            raise SourceError(f"{archive}: expected a folder {FOLDER} in it, found {names or 'nothing'}")
        os.replace(Path(aside) / FOLDER, folder)
