"""How satisfying what was shown truly was, which only a simulated world can say."""

import time
from collections import deque
from dataclasses import astuple, dataclass
from typing import Final

from training.sources.simulated.world import Truth

RECENT_S: Final = 60.0


@dataclass(frozen=True)
class Satisfaction:
    """What is true of one page, or the mean of several.

    Attributes:
        stars: The expected rating of the videos shown, each weighted by the chance that its position is
            examined.
        likes: Expected likes.
        clicks: Expected clicks.
    """

    stars: float
    likes: float
    clicks: float

    @classmethod
    def of(cls, truth: Truth) -> "Satisfaction":
        """That of one page."""
        stars = (truth.examination * truth.rating).sum() / truth.examination.sum()
        return cls(float(stars), float(truth.like.sum()), float(truth.click.sum()))


class RecentMean:
    """The mean of the pages of the last minute."""

    def __init__(self) -> None:
        self._pages: deque[tuple[float, Satisfaction]] = deque()

    def add(self, page: Satisfaction) -> None:
        """Count a page that is shown now."""
        self._pages.append((time.monotonic(), page))
        self._forget()

    def mean(self) -> Satisfaction | None:
        """The mean; None if no page was shown."""
        self._forget()
        if not self._pages:
            return None
        columns = zip(*(astuple(page) for _, page in self._pages), strict=True)
        return Satisfaction(*(sum(column) / len(self._pages) for column in columns))

    def _forget(self) -> None:
        oldest = time.monotonic() - RECENT_S
        while self._pages and self._pages[0][0] < oldest:
            self._pages.popleft()
