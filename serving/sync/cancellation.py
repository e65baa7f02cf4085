"""Ending a task of the event loop."""

import asyncio
from typing import Any, Final

CANCEL_AGAIN_S: Final = 1.0
"""A task that still runs after so long is cancelled again: a library may have swallowed the cancellation."""


async def cancel_and_wait(task: "asyncio.Task[Any] | None") -> None:
    """Cancel a task and wait until it has ended; what it raises is ignored, and so is None."""
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
