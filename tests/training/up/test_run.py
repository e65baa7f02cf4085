import io
import socket
from pathlib import Path

import pytest
from rich.console import Console

from ranker.errors import FileError, LockedError, UserError
from ranker.files.lock import locked
from training.up.run import LOCK, UpConfig, run_up
from training.up.traffic import SimulatedViewers


def run(folder: Path, port: int = 0) -> None:
    run_up(UpConfig(folder, SimulatedViewers(folder), port=port), Console(file=io.StringIO()))


def test_a_port_in_use_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UserError, match="expected a free port"):
            run(tmp_path / "up", other.getsockname()[1])
    assert not (tmp_path / "up").exists()


def test_a_folder_is_used_by_one_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path / LOCK, "another loop"), pytest.raises(LockedError, match="process"):
        run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"file/up: expected a folder that can be written, found: Not a dir"):
        run(tmp_path / "file" / "up")
