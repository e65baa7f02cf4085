import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ranker.errors import SourceError, UserError
from tests.training.sources.kuairand.small_kuairand import impression, write_kuairand
from training.sources.kuairand.download import download_kuairand
from training.sources.kuairand.source import KuaiRandSource


class ArchiveServer(ThreadingHTTPServer):
    """Serves one archive; `break_after` ends the first answer after so many bytes."""

    daemon_threads = True

    def __init__(self, archive: bytes) -> None:
        super().__init__(("127.0.0.1", 0), ArchiveHandler)
        self.archive = archive
        self.break_after: int | None = None
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/KuaiRand-Pure.tar.gz"


class ArchiveHandler(BaseHTTPRequestHandler):
    server: ArchiveServer

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.server.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(self.server.archive):
            self.send_error(416)
            return
        body = self.server.archive[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.break_after])
        self.server.break_after = None

    def log_message(self, format: str, *args: object) -> None:
        pass


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    write_kuairand(tmp_path / "made" / "KuaiRand-Pure" / "data", [impression(1, 10, 5)])
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(tmp_path / "made" / "KuaiRand-Pure", arcname="KuaiRand-Pure")
    return buffer.getvalue()


@pytest.fixture
def server(archive: bytes) -> Iterator[ArchiveServer]:
    with ArchiveServer(archive) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_archive_is_fetched_unpacked_and_readable(server: ArchiveServer, tmp_path: Path) -> None:
    folder = download_kuairand(tmp_path / "out", url=server.url, md5=md5(server.archive))

    assert folder == tmp_path / "out" / "KuaiRand-Pure"
    assert names(tmp_path / "out") == ["KuaiRand-Pure"]
    assert next(KuaiRandSource(folder).records(10)).num_rows == 1


def test_what_is_there_is_not_fetched_again(server: ArchiveServer, tmp_path: Path) -> None:
    for _ in range(2):
        download_kuairand(tmp_path / "out", url=server.url, md5=md5(server.archive))

    assert len(server.ranges) == 1


def test_a_broken_download_goes_on_where_it_stopped(server: ArchiveServer, tmp_path: Path) -> None:
    server.break_after = 100

    with pytest.raises(SourceError, match=r"100 of \d+ bytes; run the command again to go on"):
        download_kuairand(tmp_path / "out", url=server.url, md5=md5(server.archive))
    assert names(tmp_path / "out") == ["KuaiRand-Pure.tar.gz.part"]
    download_kuairand(tmp_path / "out", url=server.url, md5=md5(server.archive))

    assert server.ranges == [None, "bytes=100-"]
    assert names(tmp_path / "out") == ["KuaiRand-Pure"]


def test_a_whole_archive_that_was_not_unpacked_is_not_fetched_again(
    server: ArchiveServer, tmp_path: Path
) -> None:
    (tmp_path / "KuaiRand-Pure.tar.gz.part").write_bytes(server.archive)

    assert download_kuairand(tmp_path, url=server.url, md5=md5(server.archive)).is_dir()
    assert server.ranges == [f"bytes={len(server.archive)}-"]


def test_a_wrong_md5_is_refused_and_the_archive_deleted(server: ArchiveServer, tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=f"expected an archive with md5 {'0' * 32}, found {md5(server.archive)}"
    ):
        download_kuairand(tmp_path / "out", url=server.url, md5="0" * 32)

    assert names(tmp_path / "out") == []


def test_no_server_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:1/x: expected to download it, found: "):
        download_kuairand(tmp_path, url="http://127.0.0.1:1/x")
    with pytest.raises(UserError, match=r"^file:///nowhere/x: expected to download it"):
        download_kuairand(tmp_path, url="file:///nowhere/x")


def test_a_file_url_works(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(archive)

    assert download_kuairand(
        tmp_path / "out", url=(tmp_path / "x.tar.gz").as_uri(), md5=md5(archive)
    ).is_dir()


def test_out_that_cannot_be_a_folder_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")

    with pytest.raises(UserError, match=r"out: expected a folder that can be written"):
        download_kuairand(tmp_path / "out", url="file:///nowhere/x")


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("../escaped", "expected an archive with safe paths"),
        ("other/x", "expected a folder KuaiRand-Pure in it, found other"),
    ],
)
def test_archives_of_another_kind_are_refused(tmp_path: Path, member: str, message: str) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo(member), io.BytesIO())
    content = (tmp_path / "x.tar.gz").read_bytes()

    with pytest.raises(SourceError, match=message):
        download_kuairand(tmp_path / "out", url=(tmp_path / "x.tar.gz").as_uri(), md5=md5(content))

    assert not (tmp_path / "out" / "KuaiRand-Pure").exists()
    assert not (tmp_path / "escaped").exists()
