"""Where the real data of the tests is."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def kuairand_folder() -> Path:
    """The ten real days of KuaiRand-Pure; without them the test fails, for skipping would hide it."""
    folder = REPOSITORY.parent / "shared" / "data" / "kuairand-pure"
    if not folder.is_dir():
        pytest.fail(f"expected ten days of KuaiRand-Pure in {folder}, found no such folder")
    return folder
