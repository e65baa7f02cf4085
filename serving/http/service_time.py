"""An estimate of how long the model takes, so that work that would finish too late is not begun."""

from typing import Final

NEWEST_WEIGHT: Final = 0.1
"""Weight of the newest batch in the running means."""
DISCOUNT: Final = 0.9
"""Factor by which the estimate shrinks when a request is refused because of it.

Refused requests bring no new measurement, so an estimate that is too high would otherwise stay.
"""


class ServiceTime:
    """Running means of the time of batches in one process; 0 before the first batch.

    Attributes:
        request_s: Seconds a request.
        candidate_s: Seconds a candidate.
    """

    def __init__(self) -> None:
        self.request_s = 0.0
        self.candidate_s = 0.0

    def record(self, requests: int, candidates: int, seconds: float) -> None:
        """Take the time of a batch into the means."""
        weight = NEWEST_WEIGHT if self.request_s else 1.0
        self.request_s += weight * (seconds / requests - self.request_s)
        self.candidate_s += weight * (seconds / candidates - self.candidate_s)

    def discount(self) -> None:
        """Shrink the means, after a request was refused because of them."""
        self.request_s *= DISCOUNT
        self.candidate_s *= DISCOUNT
