"""Waiting for what happens in the background."""

import asyncio
from time import monotonic


async def until(condition, seconds=30):
    """Wait until a condition is true; fail if that takes too long."""
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.01)
