from pathlib import Path

import pytest

from ranker.errors import LocationError
from ranker.files.location import local_path, locate, plain


@pytest.mark.parametrize("scheme", ["", "file:", "file://", "local:", "local://", "FILE:"])
@pytest.mark.parametrize("path", ["~/reg", "reg", "/tmp/reg", "a@b/c d"])
def test_every_spelling_of_a_local_path_is_the_same_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, path: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = tmp_path / "reg" if path == "~/reg" else Path(path)
    assert local_path(scheme + path) == expected
    found = locate(scheme + path)
    assert found.is_local
    assert found.path == str(Path.cwd() / expected)


@pytest.mark.parametrize("url", ["s3://bucket/x", "memory://x", "log/*.parquet", ""])
def test_what_is_no_spelling_of_a_local_path_stays_as_it_is(url: str) -> None:
    assert plain(url) == url


def test_a_user_who_is_not_there_is_no_folder() -> None:
    with pytest.raises(LocationError, match=r"found no such user; write \./~nobody-of-this-name/reg"):
        plain("~nobody-of-this-name/reg")


def test_a_url_is_no_local_path() -> None:
    with pytest.raises(LocationError, match=r"^memory://x: expected a path on this machine"):
        local_path("memory://x")


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("gopher://x", "Protocol not known: gopher"),
        ("github://x", "missing 2 required positional arguments: .org. and .repo."),  # a TypeError
        ("file:", "none"),
        ("gopher://key:hunter2@x", "Protocol not known: gopher"),
    ],
)
def test_what_fsspec_cannot_open_is_refused_in_one_line(url: str, found: str) -> None:
    with pytest.raises(LocationError, match=found) as caught:
        locate(url)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
