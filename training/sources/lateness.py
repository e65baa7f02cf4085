"""What is done about rows that come late to a log that grows between two runs."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import TypeAdapter, ValidationError

from ranker.errors import UserError
from ranker.spec_model import Duration


class TooLate(StrEnum):
    """What is done about rows that came too late.

    Attributes:
        REFUSE: The run stops before it learns anything, and names the file.
        SKIP: They are left out; their file is named and they are counted.
    """

    REFUSE = "refuse"
    SKIP = "skip"


@dataclass(frozen=True)
class Lateness:
    """How late rows may come, and what is done about those that come later still.

    Rows are learned in temporal order, so a row that is older than one already learned can no longer be
    learned. A run may wait for it, leave it out, or refuse it.

    Attributes:
        wait_ms: Rows that are newer than the log's newest row minus this are left for a later run: what comes
            late by this much or less still finds its place. 0 to wait for nothing.
        late: What is done about rows that came later still.
    """

    wait_ms: int = 0
    late: TooLate = TooLate.REFUSE


def parse_wait(text: str | None, option: str) -> int:
    """Parse a duration such as 90s, 10m, 12h or 7d.

    Args:
        text: The option's value; None if it was left out.
        option: The option's name, for the message.

    Returns:
        Milliseconds; 0 for None.

    Raises:
        UserError: The text is not a duration.
    """
    try:
        return 0 if text is None else round(TypeAdapter(Duration).validate_python(text) * 1000)
    except ValidationError as error:
        raise UserError(
            f"{option}: expected a duration such as 90s, 10m, 12h or 7d, found '{text}'"
        ) from error
