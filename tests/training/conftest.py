"""The commands, and a log and a registry for them."""

import sys
from pathlib import Path

import pytest

import watchnext
from tests.training.small_commands import NOON, WORLD, Answer, Command
from training.sources.simulated.write import write_simulation


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run `watchnext ARGUMENTS` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["watchnext", *arguments])
        with pytest.raises(SystemExit) as ended:
            watchnext.main()
        return Answer(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> str:
    """3,000 impressions of one day."""
    folder = tmp_path_factory.mktemp("world") / "log"
    write_simulation(folder, days=1, seed=1, config=WORLD)
    return str(folder)


@pytest.fixture(scope="session")
def registry(log: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry whose bundle has learned the morning."""
    folder = str(tmp_path_factory.mktemp("registry"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["", "train", "--registry", folder, "--data", log, "--until", NOON])
        with pytest.raises(SystemExit, match="0"):
            watchnext.main()
    return folder
