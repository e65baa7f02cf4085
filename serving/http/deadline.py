"""What a deadline is.

A deadline is a `time.perf_counter()` value, in seconds, after which nobody waits for the answer to a ranking
request: its arrival plus the smaller one of the header X-Timeout-Ms and `timeout_ms` in its body, infinity if
it has neither. A request that would be late is refused in two places: on arrival, if those in flight take too
long (`Admission.is_full`), and when its turn comes, if the model takes too long (`ModelWorker`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

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
    """When a request arrived, and by when its answer is needed.

    Attributes:
        request_id: Names the request in the log.
        started: `perf_counter()` at its arrival.
        deadline: Its arrival plus the header's timeout.
    """

    request_id: str
    started: float
    deadline: float

    def deadline_with(self, timeout_ms: int | None) -> float:
        """The earlier one of this deadline and the one that `timeout_ms` in the body sets."""
        return self.deadline if timeout_ms is None else min(self.deadline, self.started + timeout_ms / 1000)
