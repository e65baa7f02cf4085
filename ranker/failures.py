"""What a program says of an error, whatever it is: one line, and an exit status.

`watchnext` and the processes of the service end with it. A traceback is for whoever asks for it with
`--debug`.
"""

import os
import signal
from typing import Final, NamedTuple

from ranker.errors import UserError, WatchnextError

DEBUG_VARIABLE: Final = "WATCHNEXT_DEBUG"
"""Set while tracebacks are shown; processes that are started inherit it."""
HINT: Final = "run it again with --debug to see where"


class Failure(NamedTuple):
    """How a program ends because of an error.

    Attributes:
        line: What it says; empty if there is nothing to say.
        status: 2 for what the user can mend, 130 for Ctrl-C, 1 for the rest.
    """

    line: str
    status: int


def explained(error: BaseException) -> Failure:
    """Turn any error into a line and a status."""
    kind, said = type(error).__name__, " ".join(str(error).split())
    if isinstance(error, WatchnextError):
        return Failure(" ".join(str(error).splitlines()), 2 if isinstance(error, UserError) else 1)
    if isinstance(error, KeyboardInterrupt):
        return Failure("", 128 + signal.SIGINT)
    if isinstance(error, OSError):
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return Failure(f"{where}found: {error.strerror or said or kind} ({kind}); {HINT}", 2)
    if isinstance(error, UnicodeError):
        return Failure(f"expected text in another encoding, found: {said} ({kind}); {HINT}", 2)
    return Failure(f"unexpected {kind}{f': {said}' if said else ''}; {HINT}", 1)


def debugging() -> bool:
    """Whether tracebacks are to be shown."""
    return os.environ.get(DEBUG_VARIABLE, "").lower() not in ("", "0", "false", "no", "off")
