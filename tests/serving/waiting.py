"""Waiting, for a bounded time, for what happens in the background."""

import asyncio
import time


async def until(condition, seconds=30):
    """Wait in the event loop until a condition is true; fail if that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"expected the condition to come true within {seconds} s"
        await asyncio.sleep(0.01)


def wait_until(condition, expected, seconds=60):
    """Wait until a condition is true; fail if that takes too long.

    Args:
        condition: Is asked again and again.
        expected: What is waited for, as the failure says it: `the process to be replaced`.
        seconds: How long to wait.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"expected {expected} within {seconds} s"
        time.sleep(0.02)


def join(thread, seconds=60):
    """Wait until a thread has ended; fail if that takes too long."""
    thread.join(seconds)
    assert not thread.is_alive(), f"expected {thread.name} to end within {seconds} s"
