"""A docker that works: this machine's own, or one that a wrapper lends for as long as its command runs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WRAPPER = ROOT.parent / "shared" / "tools" / "with-docker.sh"

# Tells the environment in which docker works, and stays until its input is closed, also by our death.
_HOLD = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()"


class NoDockerError(Exception):
    """Docker works here in no way that we know; the message says what is missing."""


def _works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def docker_prefix() -> list[str]:
    """What to put before a command so that docker works in it."""
    if wrapper := os.environ.get("WATCHNEXT_DOCKER"):
        return wrapper.split()
    if _works("docker", "info") and _works("docker", "compose", "version"):
        return []
    if not WRAPPER.exists():
        raise NoDockerError("no docker with compose works here, and WATCHNEXT_DOCKER names no wrapper")
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoDockerError("no docker with compose works here, and bringing one needs Linux, root and apt")
    return ["bash", str(WRAPPER)]


@contextmanager
def docker_session(prefix: list[str]) -> Iterator[dict[str, str]]:
    """Yield the environment for docker commands."""
    command = [*prefix, sys.executable, "-c", _HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        said = []
        for line in holder.stdout:
            said.append(line)
            if line.startswith("{"):
                break
        else:
            pytest.fail(f"{command}: expected a docker, found:\n{''.join(said)}")
        try:
            yield json.loads(line)
        finally:
            holder.communicate(timeout=120)
