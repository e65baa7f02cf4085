"""What viewers did, as entries of the log of events: one entry a call, with up to a thousand events."""

from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
import orjson
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ranker.errors import EventLogError

SHOWN: Final = "shown"
"""The kind of an event that says that a video was seen; its value is the position, 0 for the served one."""
MAX_VALUE: Final = float(np.finfo(np.float32).max)
"""Labels are kept in single precision."""
MAX_POSITION: Final = 2**31 - 1


class Reason(StrEnum):
    """Why an event is set aside."""

    UNKNOWN_REQUEST = "unknown request"
    UNKNOWN_VIDEO = "unknown video"
    UNKNOWN_KIND = "unknown kind"
    TOO_LATE = "too late"
    OUT_OF_RANGE = "out of range"
    IMPLAUSIBLE_TIME = "implausible time"
    REPEATED = "repeated"
    TOO_MANY = "too many"


class Event(NamedTuple):
    """One thing that a viewer did with an impression.

    Attributes:
        event_id: Names the event: a second one of the same name is the same.
        request_id: Of the request that showed the video.
        video_id: The video.
        kind: Name of a label of the spec, or `SHOWN`.
        value: The label, in its unit.
        time_ms: When it happened, Unix epoch in milliseconds; None for when it arrived.
    """

    event_id: str
    request_id: str
    video_id: str
    kind: str
    value: float
    time_ms: int | None


_EVENTS: Final = TypeAdapter(
    list[tuple[str, str, str, str, float, int | None]], config=ConfigDict(strict=True)
)


def to_bytes(events: list[Event]) -> bytes:
    """The content of an entry with some events."""
    return orjson.dumps([tuple(event) for event in events])


def from_bytes(data: bytes, *, where: str) -> list[Event]:
    """Read the content of an entry.

    Args:
        data: The content.
        where: What to name in the message: the entry.

    Raises:
        EventLogError: It is damaged.
    """
    try:
        return [Event(*fields) for fields in _EVENTS.validate_json(data)]
    except ValidationError as error:
        found = " ".join(str(error).split())
        raise EventLogError(f"{where}: expected events, found {found:.200}") from error
