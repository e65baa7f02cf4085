"""Which event times are plausible, and which unit was probably meant by one that is not."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from ranker.events import TIME_MS

EARLIEST_MS: Final = 946_684_800_000
"""2000-01-01 in UTC: earlier times are implausible unless a caller says otherwise."""
CLOCK_SKEW_MS: Final = 86_400_000
"""How far a clock may be ahead of ours: a day."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OTHER_UNITS: Final = {
    "seconds": (1_000, 1),
    "microseconds": (1, 1_000),
    "nanoseconds": (1, 1_000_000),
    "days": (86_400_000, 1),
}
"""What a number of each unit has to be multiplied with and divided by to be milliseconds."""


@dataclass(frozen=True)
class TimeRange:
    """Event times that are plausible: since_ms <= time_ms < until_ms, Unix epoch in milliseconds.

    Attributes:
        since_ms: The first.
        until_ms: The first that is not any more.
        until_now: Whether nobody has said where the end is, so that it follows the clock. Then rows that are
            far after all others are not plausible either.
    """

    since_ms: int
    until_ms: int
    until_now: bool = False

    @classmethod
    def plausible(cls, now_ms: int, *, since_ms: int | None = None, until_ms: int | None = None) -> Self:
        """The range from 2000 to a day from now, unless a bound is given.

        Args:
            now_ms: The present time, Unix epoch in milliseconds.
            since_ms: The first plausible time; None for the first of 2000.
            until_ms: The first implausible time; None for a day from now.
        """
        return cls(
            EARLIEST_MS if since_ms is None else since_ms,
            now_ms + CLOCK_SKEW_MS + 1 if until_ms is None else until_ms,
            until_now=until_ms is None,
        )

    def including(self, time_ms: int) -> Self:
        """The range, widened so that a time that is known to be right is in it, and what follows in a day."""
        return replace(
            self,
            since_ms=min(self.since_ms, time_ms),
            until_ms=max(self.until_ms, time_ms + CLOCK_SKEW_MS + 1),
        )

    def __contains__(self, time_ms: int) -> bool:
        """Whether a time is plausible."""
        return self.since_ms <= time_ms < self.until_ms

    def mistake(self, time_ms: int) -> str:
        """What was expected and what was found, with the unit that was probably meant.

        Args:
            time_ms: A time that is not plausible.
        """
        expected = (
            f"expected '{TIME_MS}' in milliseconds since 1970, "
            f"from {time_text(self.since_ms)} to before {time_text(self.until_ms)}"
        )
        meant = [
            f"as {unit} it would be {time_text(time_ms * factor // divisor)}"
            for unit, (factor, divisor) in _OTHER_UNITS.items()
            if time_ms * factor // divisor in self
        ]
        return ", ".join([expected, f"found {time_ms} ({time_text(time_ms)})", *meant[:1]])


def time_text(time_ms: int) -> str:
    """A time in UTC, ISO 8601 in whole seconds; far outside of the calendar, in words."""
    try:
        return f"{_EPOCH + timedelta(milliseconds=time_ms):%Y-%m-%dT%H:%M:%SZ}"
    except OverflowError:
        return "after the year 9999" if time_ms > 0 else "before the year 1"
