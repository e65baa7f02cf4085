"""Memory that is free but still counts as the process's own."""

import ctypes


def give_back() -> None:
    """Give free memory back to the system, where the C library can.

    glibc keeps what was freed between blocks that are in use, for each thread that once allocated: after
    a model was replaced, a hundred megabytes and more. Threads that allocate may wait for some tens of
    milliseconds meanwhile, so this is for rare moments.

    Source: malloc_trim(3), https://man7.org/linux/man-pages/man3/malloc_trim.3.html.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # else macOS, or musl
        trim(0)
