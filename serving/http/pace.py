"""How long the model takes, learned as it works, so that what would come too late is not begun."""

from typing import Final

WEIGHT: Final = 0.1
"""Of the newest batch in the running mean."""
FORGET: Final = 0.9
"""What remains of the estimate when it alone kept a request from being ranked: a wrong one must not stay."""


class Pace:
    """Running means over the batches of one process.

    Attributes:
        request_s: Seconds a request.
        candidate_s: Seconds a candidate.
    """

    def __init__(self) -> None:
        self.request_s = 0.0
        self.candidate_s = 0.0

    def note(self, requests: int, candidates: int, seconds: float) -> None:
        """A batch took so long."""
        weight = WEIGHT if self.request_s else 1.0
        self.request_s += weight * (seconds / requests - self.request_s)
        self.candidate_s += weight * (seconds / candidates - self.candidate_s)

    def doubt(self) -> None:
        """Something was not begun because of the estimate."""
        self.request_s *= FORGET
        self.candidate_s *= FORGET
