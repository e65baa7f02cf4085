"""The whole loop by one command: processes that are killed come back, and a second call goes on."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ranker.bundles.registry import Registry
from tests.serving.waiting import wait_until
from training.sources.simulated.population import WorldConfig
from training.sources.simulated.write import write_simulation
from training.viewers.status import ViewerStatus

SMALL = WorldConfig(viewers=50, authors=10, uploads_per_day=30, catalogue_days=5, requests_per_day=600)
OPTIONS = ["--port", "0", "--wait", "1s", "--publish-every", "5s", "--rate", "20", "--double", "0.2"]
FIGURES = re.compile(r"[\d.]+ rankings/s   [\d.]+ events/s")


@contextmanager
def up(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the loop; end it by SIGTERM, which is status 0 and leaves nothing running."""
    command = [sys.executable, "-m", "watchnext", "up", "--out", str(folder), *OPTIONS]
    with (folder / "up.log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as loop:
        try:
            yield loop
        finally:
            loop.terminate()
            status = loop.wait(90)
    assert status == 0, said(folder)
    assert processes_of(folder, "") == []


def said(folder: Path) -> str:
    return (folder / "up.log").read_text()


def processes_of(folder: Path, subcommand: str) -> list[int]:
    """Children that name the folder and a subcommand."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(str(folder) in word for word in words) and subcommand in ("", *words[4:5]):
            found.append(int(path.parent.name))
    return found


def viewers(folder: Path) -> ViewerStatus:
    return ViewerStatus.read(folder / "viewers.json") or ViewerStatus(0)


def test_a_loop_survives_its_parts_and_goes_on_where_it_was(tmp_path: Path) -> None:
    write_simulation(tmp_path / "world", days=1, seed=0, config=SMALL, speed=1_440)
    registry = Registry(str(tmp_path / "registry"))

    def learned() -> int:
        return registry.manifest(registry.current()).rows

    with up(tmp_path):
        wait_until(lambda: viewers(tmp_path).pages > 20, "viewers", 120)
        assert "viewer " in said(tmp_path)  # a first ranking was shown
        killed = [pid for part in ("serve", "train", "viewers") for pid in processes_of(tmp_path, part)]
        assert len(killed) == 3
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        pages = viewers(tmp_path).pages
        wait_until(lambda: viewers(tmp_path).pages > pages + 20, "viewers who are answered again", 120)
        wait_until(lambda: FIGURES.search(said(tmp_path)), "a line of figures", 120)
    for part in ("service", "trainer", "viewers"):
        assert f"the {part} ended (SIGKILL); it is started again in 1 s" in said(tmp_path)
    stopping = re.findall(r"stopping the (\w+)", said(tmp_path))
    assert stopping == ["viewers", "service", "trainer"]

    before = viewers(tmp_path)
    with up(tmp_path):
        wait_until(lambda: viewers(tmp_path).pages > before.pages + 20, "the viewers of before", 120)
        assert viewers(tmp_path).world_ms > before.world_ms
        wait_until(lambda: learned() > 6_000, "a bundle that has learned what viewers did", 120)
