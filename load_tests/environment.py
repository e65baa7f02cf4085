"""A virtual environment for the peers, `.venv-bench`, with the same torch as this one."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / ".venv-bench"
PYTHON: Final = FOLDER / "bin" / "python"


def install(packages: Sequence[str], *, dependencies: bool = True) -> str | None:
    """Install packages into the environment unless they are installed, and create it if it is missing.

    Args:
        packages: Requirements for pip.
        dependencies: Whether pip also installs their dependencies.

    Returns:
        None if the packages are installed, else pip's last error.
    """
    if not (FOLDER / ".watchnext").exists():
        print(f"making {FOLDER.name} for the peers", flush=True)
        subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True)
        subprocess.run([*_pip("install"), "--editable", ROOT, _same_torch()], check=True)
        (FOLDER / ".watchnext").touch()
    stamps = [FOLDER / f".installed-{package.replace('/', '_')}" for package in packages]
    if all(stamp.exists() for stamp in stamps):
        return None
    print(f"installing {', '.join(packages)}", flush=True)
    command = [*_pip("install"), *packages]  # the torch that is there stays
    command += [_same_torch()] if dependencies else ["--no-deps"]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        said = [line for line in process.stderr.splitlines() if line.startswith("ERROR")]
        return (said or process.stderr.splitlines() or ["pip failed without a word"])[-1]
    for stamp in stamps:
        stamp.touch()
    return None


def _pip(command: str) -> list[str | Path]:
    return [PYTHON, "-m", "pip", command, "--quiet", "--disable-pip-version-check"]


def _same_torch() -> str:
    return f"torch=={torch.__version__.split('+')[0]}"
