"""Ending a task of the event loop."""

import asyncio
from typing import Any, Final

PATIENCE_S: Final = 1.0
"""After so long a task is told once more: a library may take a cancellation for its own."""


async def end(task: "asyncio.Task[Any] | None") -> None:
    """Cancel a task and wait until it has ended; what it raises is of no interest."""
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=PATIENCE_S)
