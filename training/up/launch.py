"""Runs a subcommand of watchnext as a child that ends with its parent.

`python -m training.up.launch PID train ...` has the process PID as its parent.

A supervisor that is killed cannot end its children; on Linux the kernel does.
"""

import ctypes
import os
import signal
import sys
from typing import Final

from watchnext import main

PR_SET_PDEATHSIG: Final = 1


def launch() -> None:
    """Take the parent's process id from the arguments, and run what follows it."""
    parent = int(sys.argv.pop(1))
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it has ended before
            sys.exit(128 + signal.SIGTERM)
    main()


if __name__ == "__main__":
    launch()
