"""Where the measurements on real impressions find KuaiRand-Pure."""

import sys
from pathlib import Path
from typing import Final

BESIDE: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "kuairand-pure"
"""Beside the project."""


def demand(folder: Path) -> Path:
    """The folder, or a message that says how to come by one."""
    if not folder.is_dir():
        sys.exit(
            f"expected KuaiRand-Pure in {folder}, found no such folder; fetch it with `watchnext data "
            "kuairand --out DIR` and name it with --data"
        )
    return folder
