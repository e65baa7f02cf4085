"""The example scripts run as they stand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("train_and_rank.py", "click: AUC 0."),
        ("compare_networks.py", "shared_bottom {'click': 0."),
        ("tune_the_score.py", ": 0.0 positions moved on average\ndecided by click "),
    ],
)
def test_the_example_runs(script: str, said: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "examples" / script), str(tmp_path / "made-up")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stderr
    assert said in ended.stdout
