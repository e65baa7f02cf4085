"""Every command and snippet of README and docs, run page by page against a small made-up log."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.snippets import ROOT, RUNS, PageRun, check_lines, shape, snippets_of

PAGES = {page.name: page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the made-up log and a registry that has learned three days of it."""
    folder = tmp_path_factory.mktemp("docs")
    made = [sys.executable, str(ROOT / "examples" / "made_up_log.py"), "events"]
    subprocess.run(made, cwd=folder, check=True, capture_output=True)
    command = [sys.executable, "-m", "watchnext", "train", "--spec", str(ROOT / "examples" / "my_feed.yaml")]
    options = ["--data", "events", "--until", "2026-05-04T00:00+00:00", "--registry", "registry"]
    subprocess.run([*command, *options], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", PAGES)
def test_what_the_page_shows_runs(name: str, trained: Path, tmp_path: Path) -> None:
    snippets = snippets_of(PAGES[name].read_text(encoding="utf-8"), name)
    for part in ("events", "registry"):
        shutil.copytree(trained / part, tmp_path / part)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        page = PageRun(tmp_path, probe.getsockname()[1])
    try:
        for snippet in snippets:
            if snippet.marker is None:
                page.run(snippet)
    finally:
        page.stop()


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_run_or_says_why_not(name: str) -> None:
    for snippet in snippets_of(PAGES[name].read_text(encoding="utf-8"), name):
        if snippet.marker is None:
            assert snippet.language in RUNS, f"{snippet.where}: expected one of {RUNS} or a marker"
        else:
            assert snippet.marker.startswith("skip because "), f"{snippet.where}: {snippet.marker}"


def test_a_page_whose_answer_has_other_keys_is_found(tmp_path: Path) -> None:
    page = PageRun(tmp_path, 0)
    shown, wrong = snippets_of('```bash\necho \'{"a": 1}\'\n```\n```json\n{"b": 1}\n```\n', "page.md")
    page.run(shown)

    with pytest.raises(AssertionError):
        page.run(wrong)


def test_a_command_that_fails_is_found(tmp_path: Path) -> None:
    [failing] = snippets_of("```bash\nfalse | cat\n```\n", "page.md")

    with pytest.raises(AssertionError, match=r"page\.md:1"):
        PageRun(tmp_path, 0).run(failing)


def test_a_change_that_does_not_fit_the_repository_is_found(tmp_path: Path) -> None:
    name = "ranker/score/__init__.py"
    head = f"```diff\n--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n"
    old = (ROOT / name).read_text(encoding="utf-8")
    fits, outdated = snippets_of(f"{head}-{old}+NEW = 1\n```\n{head}-OLD = 1\n+NEW = 1\n```\n", "page.md")
    page = PageRun(tmp_path, 0)
    page.run(fits)

    assert (tmp_path / name).read_text(encoding="utf-8") == "NEW = 1\n"
    with pytest.raises(AssertionError, match=r"page\.md:8"):
        page.run(outdated)


def test_lines_are_compared_in_order_but_for_their_numbers() -> None:
    check_lines("rows 12\n...\ndone", "rows 3,400\nmore\ndone\n")

    with pytest.raises(AssertionError, match="expected to see 'rows 1'"):
        check_lines("done\nrows 1", "rows 1\ndone\n")


def test_a_shape_is_keys_and_types() -> None:
    assert shape({"a": [1, 2], "b": "x"}) == shape({"a": [3.5], "b": "y"})
    assert shape({"a": 1}) != shape({"a": "1"})
