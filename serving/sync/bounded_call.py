"""Calls that may never return, such as reading from a stuck network mount, with a limit to the wait.

Such a call runs in a thread of its own that the interpreter does not wait for when the process ends.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ranker.errors import UnansweredError

T = TypeVar("T")


class BoundedCalls:
    """Makes one call at a time from an event loop; while one hangs, no other hangs beside it.

    Args:
        what: What is called, for the message.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._last: Future[Any] | None = None

    async def call(self, function: Callable[[], T], timeout_s: float) -> T:
        """Call a function in a thread of its own, once the call before has ended.

        Raises:
            UnansweredError: It, or the call before, has not ended in time.
        """
        if self._last is not None:
            await self._ended(self._last, timeout_s)
        started = in_daemon_thread(function)
        self._last = started
        await self._ended(started, timeout_s)
        self._last = None
        return started.result()

    async def _ended(self, future: "Future[Any]", timeout_s: float) -> None:
        waiting = asyncio.wrap_future(future)
        done, _ = await asyncio.wait({waiting}, timeout=timeout_s)
        if not done:
            waiting.cancel()
            raise unanswered(self._what, timeout_s)
        waiting.exception()  # the caller raises it


def call_bounded(what: str, function: Callable[[], T], timeout_s: float) -> T:
    """Call a function from a thread that is no event loop's; see `BoundedCalls`."""
    try:
        return in_daemon_thread(function).result(timeout_s)
    except TimeoutError as error:
        raise unanswered(what, timeout_s) from error


def in_daemon_thread(function: Callable[[], T]) -> "Future[T]":
    """Start a function in a thread that does not keep the process from ending."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # whoever stops to wait cannot cancel what runs

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="watchnext-bounded", daemon=True).start()
    return future


def unanswered(what: str, timeout_s: float) -> UnansweredError:
    """Return the error for a call that has not returned in time."""
    return UnansweredError(f"{what}: expected an answer within {timeout_s:g} s, found none")
