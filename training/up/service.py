"""The service as a child, and its readiness."""

import http.client
import json
import socket
import time
import urllib.request
from collections.abc import Callable
from typing import Final

from ranker.errors import UserError, WatchnextError
from training.up.child import Child

READY_TIMEOUT_S: Final = 120
"""The first service on a machine compiles code for up to a minute."""
POLL_S: Final = 0.1


def free_port(wanted: int) -> int:
    """Check that nothing listens at a port of this machine.

    Args:
        wanted: The port; 0 for any that is free.

    Raises:
        UserError: It is in use.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except (OSError, OverflowError) as error:
            found = getattr(error, "strerror", None) or error
            raise UserError(
                f"--port {wanted}: expected a free port, found: {found}; --port 0 takes any that is free"
            ) from error
        return int(probe.getsockname()[1])


def wait_until_ready(child: Child, url: str, stop: Callable[[], bool] = lambda: False) -> None:
    """Wait until a service ranks.

    Args:
        child: Its process.
        url: Where it answers.
        stop: Asked whether to stop waiting.

    Raises:
        WatchnextError: It ended, or does not answer in time.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not stop() and ready_version(url) is None:
        if child.status is not None or time.monotonic() > deadline:
            raise WatchnextError(
                f"the {child.name} did not start; it said: {child.said or 'nothing'} (all in {child.log})"
            )
        time.sleep(POLL_S)


def ready_version(url: str) -> str | None:
    """The model with which a service is ready; None if it is not."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as response:
            return str(json.load(response)["model_version"])
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException):
        return None  # another program may have taken the port
