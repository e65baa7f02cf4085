"""Returning free heap memory to the operating system."""

import ctypes


def release_free_memory() -> None:
    """Return free heap memory to the operating system, where the C library can.

    glibc keeps freed blocks that lie between blocks in use, in one arena per thread: more than a hundred
    megabytes after a model was replaced. Threads that allocate meanwhile may wait for some tens of
    milliseconds, so call this rarely.

    Source: malloc_trim(3), https://man7.org/linux/man-pages/man3/malloc_trim.3.html.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # macOS and musl have none
        trim(0)
