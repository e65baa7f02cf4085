"""Loops over rows in machine code, for what cannot be brought up to date by whole columns."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

logger = logging.getLogger(__name__)
Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """Compile a function of numbers, arrays and named tuples of arrays at its first call.

    What was compiled is kept beside the source, or in the user's cache if that cannot be written; where
    neither can be, every process compiles anew. Compiled code does not hold the interpreter's lock.
    """
    try:
        return cast(Kernel, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError as error:  # numba finds no folder that it may write to
        logger.debug("compiled code of %s is not kept: %s", function.__name__, error)
        return cast(Kernel, numba.njit(nogil=True, error_model="numpy")(function))
