"""`import watchnext` offers what a notebook needs."""

import subprocess
import sys
from pathlib import Path

import pytest

import watchnext
from training.sources.simulated.population import DAY_MS, EPOCH_MS, WorldConfig
from training.sources.simulated.write import write_simulation

TEN_LINES = """
from watchnext import Ranker, Registry, evaluate, load_spec, train

spec = load_spec("simulated")
result = train(spec, "log", "registry", until_ms={until})
report = evaluate("registry", "log", replicates=20)
print(result.model_version == Registry("registry").current(), report.rows > 0)
ranking = Ranker.load("registry").rank("1", ["1", "2", "3"], context={{"hour": 21}}, limit=2)
print([item.position for item in ranking.items], sorted(ranking.items[0].predictions))
"""


def test_ten_lines_lead_from_a_log_to_a_ranking(tmp_path: Path) -> None:
    small = WorldConfig(viewers=100, authors=20, uploads_per_day=10, requests_per_day=100)
    write_simulation(tmp_path / "log", 2, 0, small)
    script = TEN_LINES.format(until=EPOCH_MS + DAY_MS)

    said = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == [
        "True True",
        "[1, 2] ['click', 'dismiss', 'like', 'rating', 'watch_time']",
    ]


def test_it_says_what_it_offers() -> None:
    assert {"Ranker", "Registry", "evaluate", "load_spec", "train"} <= set(dir(watchnext))
    with pytest.raises(AttributeError, match="no attribute 'rank'; it offers Ranker, Registry"):
        watchnext.rank  # noqa: B018


def test_importing_it_imports_neither_trainer_nor_service() -> None:
    script = "import sys, watchnext; print([m for m in ('torch', 'training', 'serving') if m in sys.modules])"
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[1], capture_output=True, text=True
    )

    assert said.stdout.strip() == "[]"
