"""The folder of KuaiRand-Pure for measurements on real impressions."""

import sys
from pathlib import Path
from typing import Final

BESIDE: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "kuairand-pure"
"""Default folder, in `shared/` beside the project."""


def demand(folder: Path) -> Path:
    """Return the folder, or exit with a message that says how to download it."""
    if not folder.is_dir():
        sys.exit(
            f"expected KuaiRand-Pure in {folder}, found no such folder; fetch it with `watchnext data "
            "kuairand --out DIR` and name it with --data"
        )
    return folder
