"""The fenced blocks of a page of documentation, and how each is run.

A block runs in the page's folder, after those above it. What cannot run is marked in the page, on the line
above its fence, with the reason: `<!-- run: skip because ... -->`.

bash    runs; `watchnext serve` goes to the background, on a free port that takes the place of 8000
python  runs as a script; with `title="ranker/labels/ordinal.py"` it is written to that file instead
diff    is applied to a copy of the repository's file
yaml    a whole spec is parsed; a part of one (features, tasks, ...) is first put into
        `examples/my_feed.yaml`. `title="feed.yaml"` also writes the file
json    what the command above has printed: the same keys and types
text    what the command above has printed: its lines in order, but for numbers; `...` stands for others

Files that a page writes below `ranker/` take the place of the repository's in the tests that the page runs.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ranker.spec_file import parse_spec

ROOT = Path(__file__).parents[2]
FENCE = re.compile(
    r"(?:<!-- run: (?P<marker>[^>]*?) -->\n+)?^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.M | re.S
)
RUNS = ("bash", "python", "diff", "yaml", "json", "text")
SPEC_KEYS = {"features", "tasks", "labels", "network", "training", "score", "policies"}
PRELUDE = """
set -euo pipefail
watchnext() {
  if [ "$1" != serve ]; then python -m watchnext "$@"; return; fi
  python -m watchnext "$@" --port "$PORT" >>service.log 2>&1 & echo $! >>services
  for _ in $(seq 300); do
    if grep -q "serving .* at http" service.log; then return; fi
    kill -0 $! || { cat service.log >&2; return 1; }
    sleep 0.2
  done
  return 1
}
type -P curl >/dev/null || curl() { python -m tests.docs.plain_curl "$@"; }
"""
OVERLAY = """
import importlib
from pathlib import Path

for folder in sorted({path.parent for path in Path("ranker").rglob("*.py")}):
    importlib.import_module(".".join(folder.parts)).__path__.insert(0, str(folder.absolute()))
"""
"""A `conftest.py`: packages look for their modules in the page's folder before the repository."""


@dataclass(frozen=True)
class Snippet:
    """One fenced block."""

    page: str
    line: int
    language: str
    title: str | None
    marker: str | None
    text: str

    @property
    def where(self) -> str:
        """Page and line, for messages."""
        return f"{self.page}:{self.line}"


def snippets_of(text: str, page: str) -> list[Snippet]:
    """Collect the blocks of a page in order."""
    found = []
    for fence in FENCE.finditer(text):
        language, _, options = fence["info"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', options)
        line = text[: fence.start("info")].count("\n") + 1
        found.append(
            Snippet(page, line, language, title[1] if title else None, fence["marker"], fence["text"])
        )
    return found


class PageRun:
    """The blocks of one page, run in one folder."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._printed = ""
        home = {"WATCHNEXT_HOME": str(folder / "home"), "PORT": str(port), "COLUMNS": "80"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, **home, "PATH": path, "PYTHONPATH": str(ROOT)}
        self._write("conftest.py", OVERLAY)
        self._write("pytest.ini", "[pytest]\naddopts = -q\nfilterwarnings = error\n")

    def run(self, snippet: Snippet) -> None:
        """Run or check one block; what it prints is what a json or text block below it is compared to."""
        if snippet.language == "bash":
            script = PRELUDE + snippet.text.replace("localhost:8000", f"localhost:{self._port}")
            self._printed = self._execute(["bash", "-c", script], snippet)
        elif snippet.language == "python" and snippet.title:
            self._write(snippet.title, snippet.text)
        elif snippet.language == "diff":
            [name] = re.findall(r"^\+\+\+ b/(\S+)$", snippet.text, re.M)
            self._write(name, (ROOT / name).read_text(encoding="utf-8"))
            self._execute(["patch", "-p1", "--fuzz=0"], snippet, given=snippet.text)
        elif snippet.language == "python":
            self._printed = self._execute([sys.executable, "-c", snippet.text], snippet)
        elif snippet.language == "yaml":
            parse_spec(whole_spec(snippet.text), where=snippet.where)
            if snippet.title:
                self._write(snippet.title, snippet.text)
        elif snippet.language == "json":
            assert shape(json.loads(snippet.text)) == shape(json.loads(self._printed)), self._printed
        elif snippet.language == "text":
            check_lines(snippet.text, self._printed)

    def stop(self) -> None:
        """End the services that the page has started."""
        started = self._folder / "services"
        for pid in started.read_text().split() if started.exists() else ():
            subprocess.run(
                ["bash", "-c", f"kill {pid}; tail --pid={pid} -f /dev/null"], check=False, timeout=60
            )

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _execute(self, command: list[str], snippet: Snippet, given: str | None = None) -> str:
        ended = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ended.returncode == 0, f"{snippet.where}: {ended.stdout}\n{ended.stderr}"
        return ended.stdout


def whole_spec(text: str) -> str:
    """The spec, or the example's with the parts that are given; named entries replace their namesakes."""
    given = yaml.safe_load(text)
    if "name" in given:
        return text
    assert given.keys() <= SPEC_KEYS, f"expected parts of a spec, found {', '.join(given)}"
    document = yaml.safe_load((ROOT / "examples" / "my_feed.yaml").read_text(encoding="utf-8"))
    for key, part in given.items():
        if isinstance(part, list):
            names = {entry["name"] for entry in part}
            part = [entry for entry in document.get(key, []) if entry["name"] not in names] + part
        document[key] = part
    return yaml.safe_dump(document, sort_keys=False)


def shape(value: Any) -> Any:
    """Keys and types of a JSON document; lists are as their first item, ids (free keys) stay as they are."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


def check_lines(expected: str, printed: str) -> None:
    """Check that the expected lines were printed in this order, whatever their numbers and spaces.

    Raises:
        AssertionError: One was not.
    """
    lines = iter([_plain(line) for line in printed.splitlines()])
    for line in expected.splitlines():
        if line.strip() not in ("", "..."):
            assert _plain(line) in lines, f"expected to see '{line}' in:\n{printed}"


def _plain(line: str) -> str:
    without_versions = re.sub(r"(simulated|my_feed|feed)-\d\S+", "VERSION", line)
    return " ".join(re.sub(r"[-+]?\d[\d.,]*(e-?\d+)?", "0", without_versions).split())
