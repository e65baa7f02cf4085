import platform

import psutil
import pytest

from serving.model import memory
from serving.model.memory import release_free_memory

SMALL, COUNT = 2_000, 50_000
"""Blocks so small that the C library keeps those that lie between blocks in use."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps it and gives it back")
def test_what_was_freed_between_blocks_in_use_goes_back_to_the_system():
    blocks = [bytes(SMALL) for _ in range(COUNT)]
    kept = blocks[-1]
    process = psutil.Process()
    del blocks
    before = process.memory_info().rss
    release_free_memory()
    assert process.memory_info().rss < before - SMALL * COUNT / 2
    assert len(kept) == SMALL


@pytest.mark.parametrize("functions", [["malloc_trim", "free"], ["free"]])
def test_only_a_c_library_that_can_is_called(monkeypatch, functions):
    called = []

    class Library:
        def __getattr__(self, name):
            if name not in functions:
                raise AttributeError(name)
            return lambda *arguments: called.append((name, arguments))

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: Library())
    release_free_memory()
    assert called == ([("malloc_trim", (0,))] if "malloc_trim" in functions else [])
