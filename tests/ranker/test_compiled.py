"""Compiled code is kept under the digest of all that it was made from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ranker import compiled

ROOT = Path(__file__).parents[2]
LOOPS = """
from ranker.compiled import compiled

@compiled
def callee(x):
    return x + {added}
"""
CALLER = """
from loops import callee
from ranker.compiled import compiled

@compiled
def caller(x):
    return callee(x)

print(caller(1), sum(caller.stats.cache_hits.values()))
"""


def run_caller(folder: Path, added: int) -> list[int]:
    """What a program prints in which one file calls a loop of another: the result, and hits of the cache."""
    (folder / "loops.py").write_text(LOOPS.format(added=added))
    (folder / "caller.py").write_text(CALLER)
    patch = f"import ranker.compiled as c, pathlib; c.PACKAGE = pathlib.Path({str(folder)!r})\nimport caller"
    said = subprocess.run(
        [sys.executable, "-c", patch],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [int(word) for word in said.split()]


def test_a_loop_is_compiled_anew_when_one_that_it_calls_has_changed(tmp_path: Path) -> None:
    assert run_caller(tmp_path, 1) == [2, 0]
    assert run_caller(tmp_path, 1) == [2, 1]
    assert run_caller(tmp_path, 5) == [6, 0]


def test_folders_of_old_versions_do_not_pile_up(tmp_path: Path) -> None:
    for added in range(compiled.MAX_FOLDERS + 3):
        run_caller(tmp_path, added)

    assert len(list((tmp_path / "__pycache__").glob("compiled-*"))) == compiled.MAX_FOLDERS


def test_where_nothing_can_be_written_it_compiles_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(compiled, "PACKAGE", file)
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    compiled.cache_folder.cache_clear()

    assert compiled.cache_folder() is None
    assert compiled.compiled(lambda x: x + 1)(2) == 3
    compiled.cache_folder.cache_clear()
