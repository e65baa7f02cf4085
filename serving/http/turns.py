"""Long work in the event loop: in slices, between which others are served, and one at a time."""

import asyncio
import heapq
from collections.abc import Generator
from itertools import count
from time import perf_counter
from typing import Final, TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work that may be interrupted wherever it yields; what it returns is the result."""
SLICE_S: Final = 0.005


def at_once(steps: Steps[T]) -> T:
    """Take all steps without interruption, and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


class Turns:
    """Lets one at a time take its steps, and the event loop go on after every `SLICE_S`.

    If each of many requests took a slice, all of them together would keep the event loop from answering.
    """

    def __init__(self) -> None:
        self._taken = False
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = count()

    async def take(self, place: float, steps: Steps[T]) -> T:
        """Take all steps once it is this one's turn, and return their result.

        After each slice, one that waits with a lower place goes first.

        Args:
            place: Whoever waits with the lowest one is next; see `fair_shares.py`.
            steps: The work.
        """
        while True:
            await self._acquire(place)
            try:
                while not (self._waiting and self._waiting[0][0] < place):
                    if (end := _slice(steps)) is not None:
                        result: T = end.value
                        return result
                    await asyncio.sleep(0)
            finally:
                self._release()

    async def _acquire(self, place: float) -> None:
        if not self._taken:
            self._taken = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (place, next(self._number), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given the turn and is not there to take it
                self._release()
            raise

    def _release(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False


def _slice(steps: Steps[T]) -> StopIteration | None:
    """Take steps for `SLICE_S`; return what they ended with, if they did."""
    began = perf_counter()
    try:
        next(steps)
        while perf_counter() - began <= SLICE_S:
            next(steps)
    except StopIteration as end:
        return end
    return None
