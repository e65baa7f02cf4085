"""Where the real data of the tests is."""

from pathlib import Path

import pytest

from load_tests.kuairand import BESIDE


def kuairand_folder() -> Path:
    """The ten real days of KuaiRand-Pure; without them the test fails, for skipping would hide it."""
    if not BESIDE.is_dir():
        pytest.fail(f"expected ten days of KuaiRand-Pure in {BESIDE}, found no such folder")
    return BESIDE
