"""The demo, as a newcomer runs it: real training, a real service, real requests."""

import contextlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from rich.console import Console

from ranker.bundles.registry import Registry
from tests.docs.snippets import ROOT
from training.demo import CANDIDATES, REQUESTS, SHOWN_VIDEOS, _script
from training.ranked_table import SHOWN_HEADS, ranked_table
from training.sources.simulated.population import WorldConfig
from training.sources.simulated.write import write_simulation

WORLD = WorldConfig(viewers=200, authors=20, uploads_per_day=200, catalogue_days=2, requests_per_day=600)
DEMO = [sys.executable, "-m", "watchnext", "demo", "--spec", "simulated", "--port", "0"]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "log"
    write_simulation(folder, days=1, seed=1, config=WORLD)
    return folder


def processes_of(folder: Path) -> list[str]:
    """Command lines of the running processes that name the folder, as every one of a demo's does."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in line and path.parent.name != str(os.getpid()):
                found.append(line)
    return found


@contextlib.contextmanager
def demo(log: Path, out: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [*DEMO, "--data", str(log), "--out", str(out), *arguments]
    environment = {**os.environ, "COLUMNS": "80"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_it_ends_with_ranked_videos_and_a_chart_and_leaves_nothing_running(log: Path, tmp_path: Path) -> None:
    with demo(log, tmp_path / "out", "--once") as process:
        shown, _ = process.communicate(timeout=300)
    lines = shown.splitlines()

    assert process.returncode == 0
    version = Registry(str(tmp_path / "out" / "registry")).current()
    assert f"{version} answers at http://127.0.0.1:" in shown
    assert len(re.findall(rf"viewer \d+: {CANDIDATES} candidates, \d+\.\d ms", shown)) == REQUESTS
    ranks = [int(match[1]) for match in re.finditer(r"^ +(\d+) +\d+ +\d+\.\d{3} ", shown, re.MULTILINE)]
    assert ranks == [*range(1, SHOWN_VIDEOS + 1)] * REQUESTS
    assert shown.count("prediction, and below it its contribution to the score") == REQUESTS
    assert "…" not in shown
    to_be_copied = (str(tmp_path), str(log), "curl -s ", "/watchnext train ")
    assert [line for line in lines if len(line) > 80 and not any(part in line for part in to_be_copied)] == []
    assert plt.imread(tmp_path / "out" / "auc.png").shape[1] > 1000
    assert "/docs" not in shown  # nothing that was stopped is pointed at
    assert "serve it again" in shown
    assert processes_of(tmp_path / "out") == []


def test_it_serves_until_it_is_told_to_stop(log: Path, tmp_path: Path) -> None:
    with demo(log, tmp_path / "out") as process:
        assert process.stdout is not None
        said = ""
        while "serving until Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        url = re.search(r"answers at (http://\S+)", said)
        assert url is not None
        with urllib.request.urlopen(f"{url[1]}/readyz", timeout=10) as answer:
            assert answer.status == 200
        assert f"the HTTP interface       {url[1]}/docs" in said
        [asked] = re.findall(r"^ask it +(curl .*)$", said, re.MULTILINE)
        [body] = [word for word in shlex.split(asked) if word.startswith("{")]
        assert len(ranked(url[1], body)["items"]) == 3
        for page in ("README.md", "docs/serving.md"):
            bodies = re.findall(r"/v1/rank .*? -d '(.*?)'", (ROOT / page).read_text(), re.DOTALL)
            fitting = [b for b in bodies if "policy" not in b and '"candidates": []' not in b]
            assert fitting, page
            for shown in fitting:
                assert ranked(url[1], shown)["items"]
        assert len(processes_of(tmp_path / "out")) >= 3  # the demo, the service, the store
        process.terminate()
        process.wait(timeout=60)

    assert process.returncode == 128 + signal.SIGTERM
    assert processes_of(tmp_path / "out") == []


def ranked(url: str, body: str) -> dict[str, list[object]]:
    """What the service answers to a body, as curl would send it."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/rank", body.encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, list[object]] = json.load(answer)
        return found


@pytest.mark.parametrize("on_path", [True, False])
def test_commands_are_called_as_they_can_be_called(on_path: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = Path(sys.executable).parent
    monkeypatch.setattr("training.demo.shutil.which", lambda name: f"/usr/bin/{name}" if on_path else None)
    monkeypatch.chdir(scripts.parent)
    assert _script("pip") == ("pip" if on_path else f"{scripts.name}/pip")
    monkeypatch.chdir("/")
    assert _script("no-such-command") == "no-such-command"


def answer_of(heads: list[str]) -> dict[str, object]:
    items = [
        {
            "id": str(12_340 + place),
            "position": place,
            "score": 12.3456 / place,
            "predictions": dict.fromkeys(heads, 0.0123456 * place),
            "contributions": {head: -0.01 * rank * place for rank, head in enumerate(heads)},
        }
        for place in range(1, SHOWN_VIDEOS + 1)
    ]
    return {"items": items, "took_ms": 12.34, "degraded": []}


def test_a_ranked_table_says_what_the_ranking_lacked() -> None:
    console = Console(file=io.StringIO(), width=80)
    answer = answer_of([f"head_{number}" for number in range(9)]) | {"degraded": ["feature_store"]}

    console.print(ranked_table({"user": {"id": "712"}, "candidates": [{}]}, answer))

    assert "degraded: without feature_store" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_ranked_table_of_many_heads_fits_into_80_columns() -> None:
    heads = [
        "click",
        "long_view",
        "watch_time",
        "like",
        "follow",
        "comment",
        "forward",
        "profile_enter",
        "dismiss",
    ]
    console = Console(file=io.StringIO(), width=80)

    console.print(ranked_table({"user": {"id": "712"}, "candidates": [{}] * 300}, answer_of(heads)))

    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in shown
    assert "viewer 712: 300 candidates, 12.3 ms" in shown
    assert f"the {SHOWN_HEADS} heads that decide most" in shown
    assert "dismiss" in shown  # decides most
    assert "click" not in shown  # decides nothing
    assert re.search(r"^ +1 +12341 +12\.346( +0\.012){6} *$", shown, re.MULTILINE)
    assert re.search(r"^( +-0\.0\d){6} *$", shown, re.MULTILINE)
