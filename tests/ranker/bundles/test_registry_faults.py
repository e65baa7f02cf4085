"""A full disk, a broken connection or a kill at any step leaves no half bundle."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import fsspec
import pytest

from ranker.bundles.registry import Registry
from ranker.errors import RegistryError
from tests.ranker.bundles.small_bundle import publish
from tests.ranker.bundles.two_versions import FIRST, FIRST_VERSION, ORDER, SECOND, SECOND_VERSION


@pytest.mark.parametrize("step", range(len(ORDER) + 2))
def test_a_full_disk_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    registry = Registry(str(tmp_path))
    publish(registry, FIRST)
    steps = iter(range(len(ORDER) + 3))
    synced = os.fsync

    def fail_at_step(descriptor: int) -> None:
        if next(steps) == step:
            with contextlib.suppress(OSError):  # a folder cannot be cut off
                os.ftruncate(descriptor, 3)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", fail_at_step)
    with pytest.raises(
        RegistryError, match=rf"{tmp_path}/(bundles/{SECOND_VERSION}|current.json): .* No space left"
    ):
        publish(registry, SECOND)

    whole = [FIRST_VERSION] if step < len(ORDER) else [FIRST_VERSION, SECOND_VERSION]
    assert (registry.versions(), registry.current()) == (whole, FIRST_VERSION)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundles", "current.json"]


@pytest.mark.parametrize("step", range(len(ORDER) + 1))
def test_a_broken_connection_leaves_no_half_bundle(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    registry = Registry(f"memory://{uuid.uuid4().hex}")
    publish(registry, FIRST)
    steps = iter(range(len(ORDER) + 1))
    memory = fsspec.filesystem("memory")
    write = memory.pipe_file

    def fail_at_step(path: str, content: bytes) -> None:
        if next(steps) == step:
            raise OSError("connection reset")
        write(path, content)

    monkeypatch.setattr(memory, "pipe_file", fail_at_step)
    with pytest.raises(RegistryError, match="found: connection reset"):
        publish(registry, SECOND)
    monkeypatch.undo()

    whole = [FIRST_VERSION] if step < len(ORDER) else [FIRST_VERSION, SECOND_VERSION]
    assert (registry.versions(), registry.current()) == (whole, FIRST_VERSION)
    assert publish(registry, SECOND) == registry.read().manifest.model_version == SECOND_VERSION


KILLS = [("fsync", 3), ("replace", 1), ("fsync", len(ORDER) + 1), ("replace", 2)]
KILLER = """
import json, os, signal, sys
from pathlib import Path
from ranker.bundles.registry import Registry
from ranker.errors import RegistryError

contents = {path.name: path.read_bytes() for path in Path(sys.argv[1]).iterdir()}
for folder, name, call in json.loads(sys.argv[2]):
    child = os.fork()
    if child == 0:
        real, calls = getattr(os, name), iter(range(call - 1))
        def dying(*args):
            if next(calls, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)
        setattr(os, name, dying)
        registry = Registry(folder)
        registry.make_current(registry.add(contents))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_killed_process_leaves_no_half_bundle(tmp_path: Path) -> None:
    contents = tmp_path / "contents"
    contents.mkdir()
    for name, content in SECOND.items():
        (contents / name).write_bytes(content)
    publish(Registry(str(tmp_path / "before")), FIRST)
    folders = [tmp_path / f"{name}-{call}" for name, call in KILLS]
    for folder in folders:
        shutil.copytree(tmp_path / "before", folder)
    plan = [(str(folder), *kill) for folder, kill in zip(folders, KILLS, strict=True)]

    command = [sys.executable, "-c", KILLER, str(contents), json.dumps(plan)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)

    assert done.stdout.split() == ["-9"] * len(KILLS)
    for folder, kill in zip(folders, KILLS, strict=True):
        registry = Registry(str(folder))
        whole = [FIRST_VERSION, SECOND_VERSION] if kill in KILLS[2:] else [FIRST_VERSION]
        assert (registry.versions(), registry.current()) == (whole, FIRST_VERSION)
        assert publish(registry, SECOND) == registry.read().manifest.model_version == SECOND_VERSION
