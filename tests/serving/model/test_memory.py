import platform

import psutil
import pytest

from serving.model import memory
from serving.model.memory import give_back

SMALL, COUNT = 2_000, 50_000
"""Blocks so small that the C library keeps what lies between those in use."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps it and gives it back")
def test_what_was_freed_between_blocks_in_use_goes_back_to_the_system():
    blocks = [bytes(SMALL) for _ in range(COUNT)]
    kept = blocks[-1]
    process = psutil.Process()
    del blocks
    before = process.memory_info().rss
    give_back()
    assert process.memory_info().rss < before - SMALL * COUNT / 2
    assert len(kept) == SMALL


def test_a_c_library_that_cannot_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    give_back()
