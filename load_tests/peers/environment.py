"""The environment of the benchmark's own: `.venv-bench`, with the peers and the same torch as here."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import torch

ROOT: Final = Path(__file__).parents[2]
PEERS: Final = {"DeepCTR-Torch": "deepctr-torch==0.3.0", "torch-rechub": "torch-rechub==0.9.0"}
NEEDED: Final = ("scikit-learn", "pandas", "tqdm")  # what the peers import


def peers_python() -> Path:
    """The environment's interpreter; the environment is made if it is not there."""
    folder = ROOT / ".venv-bench"
    python, installed = folder / "bin" / "python", folder / ".installed"
    if not installed.exists():
        print(f"making {folder.name} for the peers", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        same_torch = f"torch=={torch.__version__.split('+')[0]}"
        install = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, "--editable", ROOT, same_torch, *NEEDED], check=True)
        subprocess.run(
            [*install, "--no-deps", *PEERS.values()], check=True
        )  # they ask for more than they need
        installed.touch()
    return python
