"""Which files are the log: hidden names, links, globs."""

import os
from pathlib import Path

import fsspec
import pytest

from ranker.errors import SourceError
from training.sources.discovery import find_files, has_files, is_hidden


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder: Path, url: str = "") -> list[str]:
    return [path.removeprefix(f"{folder}/") for path in find_files(url or str(folder)).paths]


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("_temporary", True),
        (".staging", True),
        ("._x.parquet", True),
        (".day=1", True),
        ("_day=1", False),
        ("day=1", False),
        ("x_.parquet", False),
    ],
)
def test_names_are_hidden_as_in_spark(name: str, hidden: bool) -> None:
    assert is_hidden(name) is hidden


HIDDEN = (
    "_temporary/0/a.parquet",
    ".hive-staging/a.parquet",
    "._a.parquet",
    "day=1/_old/a.parquet",
    "_b.parquet",
)


def test_what_is_hidden_below_the_root_is_left_out_and_named(tmp_path: Path) -> None:
    root = tmp_path / "_root" / ".log"
    touch(root, "a.parquet", "day=1/b.parquet", "_day=2/c.parquet", "notes.txt", "_SUCCESS", *HIDDEN)

    assert found(root) == ["_day=2/c.parquet", "a.parquet", "day=1/b.parquet"]
    files = find_files(str(root))
    assert sorted(path.removeprefix(f"{root}/") for path in files.hidden) == sorted(
        ["_temporary", ".hive-staging", "._a.parquet", "day=1/_old", "_b.parquet"]
    )
    assert files.left_out.endswith("and 2 more: hidden, as names with . or _ in front are")


def test_a_filesystem_without_links_hides_the_same() -> None:
    for name in ("a.parquet", "_x=1/b.parquet", *HIDDEN):
        with fsspec.open(f"memory://hides/log/{name}", "wb"):
            pass

    assert find_files("memory://hides/log").paths == ["/hides/log/_x=1/b.parquet", "/hides/log/a.parquet"]
    assert len(find_files("memory://hides/log").hidden) == len(HIDDEN)


def test_a_glob_reads_the_hidden_names_that_it_spells(tmp_path: Path) -> None:
    touch(tmp_path, "a.parquet", "_old/b.parquet", "_old/_c.parquet")

    assert found(tmp_path, f"{tmp_path}/*") == ["a.parquet"]
    assert found(tmp_path, f"{tmp_path}/**/*.parquet") == ["a.parquet"]
    assert found(tmp_path, f"{tmp_path}/_old/*.parquet") == ["_old/b.parquet"]
    assert found(tmp_path, f"{tmp_path}/_o*") == ["_old/b.parquet"]
    assert found(tmp_path, f"{tmp_path}/_old/_c.parquet") == ["_old/_c.parquet"]


def test_linked_folders_are_read_and_every_file_once(tmp_path: Path) -> None:
    log, elsewhere = tmp_path / "log", tmp_path / "elsewhere"
    touch(log, "day1/a.parquet", "z/c.parquet")
    touch(elsewhere, "b.parquet")
    (log / "day2").symlink_to(elsewhere)
    (log / "day1" / "again").symlink_to(log / "z")
    (log / "current").symlink_to(log / "day1")
    (log / "copy.parquet").symlink_to(log / "day1" / "a.parquet")

    assert found(log) == ["day1/a.parquet", "day2/b.parquet", "z/c.parquet"]
    assert sorted(path.removeprefix(f"{log}/") for path in find_files(str(log)).doubles) == [
        "copy.parquet",
        "current",
        "day1/again",
    ]


def test_links_that_lead_in_a_circle_end(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.parquet", "b/y.parquet")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "across").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "across").symlink_to(tmp_path / "a")
    (tmp_path / "itself").symlink_to(tmp_path / "itself")

    assert found(tmp_path) == ["a/x.parquet", "b/y.parquet"]
    assert has_files(str(tmp_path))


def test_a_log_may_be_reached_through_links_alone(tmp_path: Path) -> None:
    touch(tmp_path / "there", "x.parquet")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "day1").symlink_to(tmp_path / "there")

    assert has_files(str(tmp_path / "log"))
    assert found(tmp_path / "log") == ["day1/x.parquet"]


def test_a_folder_of_hidden_files_alone_holds_no_log(tmp_path: Path) -> None:
    touch(tmp_path, *HIDDEN)

    assert not has_files(str(tmp_path))
    assert not has_files(str(tmp_path / "nowhere"))


def test_a_link_that_leads_nowhere_is_found_and_not_skipped(tmp_path: Path) -> None:
    os.symlink(tmp_path / "gone", tmp_path / "a.parquet")

    assert found(tmp_path) == ["a.parquet"]


def test_names_below_the_root_begin_where_a_glob_does(tmp_path: Path) -> None:
    touch(tmp_path, "users.parquet/day=1/part.parquet")

    for url in (str(tmp_path), f"{tmp_path}/*", f"{tmp_path}/*/*/*.parquet"):
        files = find_files(url)
        assert files.names_below_root(files.paths[0]) == ["users.parquet", "day=1", "part.parquet"]


def test_a_url_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(SourceError, match="nowhere://log: expected a file, folder or fsspec URL"):
        find_files("nowhere://log")


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.parquet")
    for url in (tmp_path, tmp_path / "a.parquet", tmp_path / "*.parquet"):
        with pytest.raises(SourceError, match=r"a\.parquet: expected a regular file, found a pipe"):
            find_files(str(url))


def test_a_file_with_two_names_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").touch()
    os.link(tmp_path / "a.parquet", tmp_path / "b.parquet")
    files = find_files(str(tmp_path))
    assert files.paths == [f"{tmp_path}/a.parquet"]
    assert files.doubles == [f"{tmp_path}/b.parquet"]


def test_the_suffix_may_be_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "A.PARQUET").touch()
    assert find_files(str(tmp_path)).paths == [f"{tmp_path}/A.PARQUET"]
