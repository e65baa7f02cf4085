"""What a deadline is.

A deadline is a `time.perf_counter()` value, in seconds, after which nobody waits for the answer to a ranking
request: its arrival (`unread.py`) plus the smaller one of the header X-Timeout-Ms and `timeout_ms` in its
body, infinity if it has neither. A request that would be late is refused on arrival, if those ahead of it
take too long (`Admission`), and when its turn comes, if the model takes too long (`ModelWorker`). One whose
deadline has passed is given up at each step on the way (`Arrival.check`), and the feature store is not waited
for longer than leaves time to rank (`RankingService`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Final, Self

from ranker.errors import DeadlinePassedError

TIMEOUT_HEADER: Final = "X-Timeout-Ms"
MAX_TIMEOUT_MS: Final = 60_000
NO_TIMEOUT: Final = math.inf
NO_DEADLINE: Final = math.inf


def timeout_of(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """Read the header X-Timeout-Ms.

    Args:
        headers: Names in lower case, and values.

    Returns:
        The timeout in seconds; `NO_TIMEOUT` without the header.

    Raises:
        ValueError: It is not an integer from 1 to `MAX_TIMEOUT_MS`.
    """
    value = next((value for name, value in headers if name == b"x-timeout-ms"), None)
    if value is None:
        return NO_TIMEOUT
    if not (value.isdigit() and len(value) <= 5 and 1 <= int(value) <= MAX_TIMEOUT_MS):
        raise ValueError(f"{TIMEOUT_HEADER}: expected an integer from 1 to {MAX_TIMEOUT_MS}")
    return int(value) / 1000


@dataclass(frozen=True)
class Arrival:
    """When a request arrived, by when its answer is needed, and who goes before it.

    Attributes:
        request_id: Names the request in the log.
        started: `perf_counter()` at its arrival.
        deadline: Its arrival plus its timeout.
        place: Requests with a lower one go first; see `fair_shares.py`.
    """

    request_id: str
    started: float
    deadline: float
    place: float = 0.0

    def within(self, timeout_ms: int | None) -> Self:
        """This arrival, with the deadline that `timeout_ms` in the body sets if that is earlier."""
        if timeout_ms is None:
            return self
        return replace(self, deadline=min(self.deadline, self.started + timeout_ms / 1000))

    def check(self) -> None:
        """Check that there is time left.

        Raises:
            DeadlinePassedError: The deadline has passed.
        """
        if (late_s := perf_counter() - self.deadline) > 0:
            raise DeadlinePassedError(f"the request was {late_s * 1000:.0f} ms late before its turn came")
