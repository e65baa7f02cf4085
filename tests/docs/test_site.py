"""The documentation builds, and its generated page is what the models say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_spec_reference_is_what_the_models_say() -> None:
    checked = subprocess.run(
        [sys.executable, "docs/spec_reference.py", "--check"], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    )

    assert checked.returncode == 0, "run python docs/spec_reference.py"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert built.returncode == 0, built.stderr
    assert (tmp_path / "spec-reference" / "index.html").is_file()
