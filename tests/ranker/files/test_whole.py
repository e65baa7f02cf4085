import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ranker.errors import FileError
from ranker.files.whole import naming, remove_leftovers, replacing, write_whole


def write_half(path: Path, *, then: Callable[[], None]) -> None:
    with replacing(path) as fresh:
        fresh.write_bytes(b"half")
        then()


def test_a_file_is_replaced_and_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_failure_at_any_step_keeps_the_old_file_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if moment != "write":
        monkeypatch.setattr(os, moment, full)
    with pytest.raises(FileError, match=rf"^{path}: .*found: No space left on device$"):
        write_half(path, then=full if moment == "write" else lambda: None)

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_block_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half(path, then=interrupt)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as first, replacing(path) as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
        assert first != second
    assert path.read_bytes() == b"first"  # it is the last to end


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_bytes() == b"new"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none/file: .*found: No such file or directory"):
        write_whole(tmp_path / "none" / "file", b"")


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    with replacing(path) as fresh:
        os.link(fresh, tmp_path / fresh.name.replace(".new", "0.new"))
    (tmp_path / "other.new").touch()
    remove_leftovers(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "other.new"]


def test_an_error_without_a_file_is_given_one() -> None:
    with pytest.raises(FileError, match=r"^runs/small: .*found: stale"), naming("runs/small"):
        raise OSError("stale\nhandle")
