"""The options that several commands of training have in common, beside those of `ranker/options.py`."""

import time
from datetime import datetime
from typing import Annotated

import typer

from ranker.errors import UserError
from ranker.event_times import TimeRange
from ranker.stream.joiner import Clock

SpecOption = Annotated[
    str,
    typer.Option(
        envvar="WATCHNEXT_SPEC", help="A preset (kuairand, simulated, simulated_live) or a .yaml file."
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        envvar="WATCHNEXT_DATA", help="A folder, file, glob or fsspec URL; without it, the simulated world."
    ),
]
SourceOption = Annotated[
    str | None, typer.Option(help="kuairand, parquet or simulated; recognised from --data if left out.")
]
SinceOption = Annotated[str | None, typer.Option(help="First event time, ISO 8601 with an offset.")]
UntilOption = Annotated[str | None, typer.Option(help="Event time to stop before, ISO 8601 with an offset.")]
PlausibleSinceOption = Annotated[
    str | None,
    typer.Option(
        envvar="WATCHNEXT_PLAUSIBLE_SINCE",
        help="First plausible event time, ISO 8601 with an offset; 2000-01-01T00:00Z if left out. "
        "A log with an earlier one is refused.",
    ),
]
PlausibleUntilOption = Annotated[
    str | None,
    typer.Option(
        envvar="WATCHNEXT_PLAUSIBLE_UNTIL",
        help="First implausible event time, ISO 8601 with an offset; a day from now if left out. "
        "A log with it or a later one is refused.",
    ),
]

WaitOption = Annotated[
    str,
    typer.Option(
        help="How long an impression waits for feedback, e.g. 90s, 10m or 12h; longer if a label of the spec "
        "has a longer label_wait."
    ),
]
ClockOption = Annotated[
    Clock,
    typer.Option(
        help="By which time an impression waits: that of arrival, or that which requests and events carry, "
        "for a log that is played back."
    ),
]


def plausible_times(since: str | None, until: str | None) -> TimeRange:
    """The range of event times that a log may have.

    Args:
        since: The value of `--plausible-since`.
        until: The value of `--plausible-until`.

    Raises:
        UserError: One is not a time, or has no offset.
    """
    return TimeRange.plausible(
        time.time_ns() // 1_000_000,
        since_ms=parse_time(since, "--plausible-since"),
        until_ms=parse_time(until, "--plausible-until"),
    )


def parse_time(text: str | None, option: str) -> int | None:
    """Parse ISO 8601 with an offset.

    Args:
        text: The option's value; None if it was left out.
        option: The option's name, for the message.

    Returns:
        Unix epoch in milliseconds; None for None.

    Raises:
        UserError: The text is not a time, or has no offset.
    """
    if text is None:
        return None
    expected = "expected ISO 8601 with an offset, such as 2022-05-04T00:00+08:00"
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{option}: {expected}, found '{text}'") from error
    if parsed.tzinfo is None:
        raise UserError(f"{option}: {expected}, found '{text}' without an offset")
    return round(parsed.timestamp() * 1000)
