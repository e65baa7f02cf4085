"""An estimate of how long the model takes, so that work that would finish too late is not begun.

Work is counted in candidates: a request costs as much as its candidates and `REQUEST_COST` more.
"""

from time import perf_counter
from typing import Final

REQUEST_COST: Final = 30
"""Candidates that take about as long as what a request costs whatever the number of its candidates."""
NEWEST_WEIGHT: Final = 0.1
"""Weight of the newest batch among those of the same size."""
STALE_S: Final = 2.0
"""Age from which a measurement says nothing.

Requests that are refused bring no new measurement, so an estimate that is too high would otherwise stay. What
is refused teaches nothing by itself: a timeout that nobody could keep is no evidence of the model's pace.
"""


def cost_of(candidates: float, requests: int = 1) -> float:
    """What requests with these candidates together cost, in candidates."""
    return requests * REQUEST_COST + candidates


class ServiceTime:
    """The model's time for a cost of 1, in one process.

    It is the time of the newest batches over what they cost, so that small batches, of which each takes long
    for what it costs, say little of what large ones ahead will take.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._cost = 0.0
        self._measured_at = 0.0

    def record(self, requests: int, candidates: int, seconds: float) -> None:
        """Take in the time of a batch; earlier ones count for less."""
        self._seconds = (1 - NEWEST_WEIGHT) * self._seconds + seconds
        self._cost = (1 - NEWEST_WEIGHT) * self._cost + cost_of(candidates, requests)
        self._measured_at = perf_counter()

    def expected_s(self, cost: float) -> float:
        """Seconds that work of this cost is expected to take; 0 if nothing was measured of late."""
        fresh = self._cost > 0 and perf_counter() - self._measured_at < STALE_S
        return cost * self._seconds / self._cost if fresh else 0.0
