"""The body of `POST /v1/events`: what viewers did with what they were shown."""

from typing import Annotated, Any, Final, NotRequired, Self

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from ranker.stream.feedback import SHOWN
from serving.http.long_lists import LongList
from serving.http.turns import Steps
from serving.requests import MAX_FIELDS, AtMost, Id, Input

MAX_EVENTS: Final = 1_000
"""Events of one call."""
_Name = Annotated[str, Field(strict=True, min_length=1, max_length=128)]


# A TypedDict: validating a thousand pydantic models would take as long as everything else together.
class EventInput(TypedDict):
    """One thing that a viewer did with a video that a ranking returned."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    event_id: Annotated[
        _Name,
        Field(
            description="Names the event: one that is sent again, under the same name, counts once.",
            examples=["e1"],
        ),
    ]
    request_id: Annotated[
        _Name,
        Field(
            description="The `request_id` of the ranking that returned the video.",
            examples=["3208b4f27ce54d37909f5eeee490997c"],
        ),
    ]
    video_id: Annotated[Id, Field(description="The video.", examples=["17"])]
    kind: Annotated[
        str,
        Field(
            strict=True,
            min_length=1,
            max_length=64,
            description="What it was: the name of one of the model's tasks or further labels, or "
            f"`{SHOWN}`, that it was seen.",
            examples=["like"],
        ),
    ]
    value: NotRequired[
        Annotated[
            float,
            Field(
                strict=True,
                description="The label's value, such as the seconds that were watched; 1 by default. Of "
                f"`{SHOWN}`, the position at which the video was seen; by default that of the ranking.",
                examples=[1],
            ),
        ]
    ]
    time_ms: NotRequired[
        Annotated[
            Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)] | None,
            Field(
                description="When it happened, Unix epoch in milliseconds; when it arrives by default. At "
                "most a minute from now.",
                examples=[1_790_000_000_000],
            ),
        ]
    ]


_EVENTS: Final = LongList(
    "events",
    TypeAdapter(Annotated[EventInput, BeforeValidator(AtMost(MAX_FIELDS))]),
    {"event_id": "1", "request_id": "1", "video_id": "1", "kind": "1"},
    MAX_EVENTS,
)


class EventsRequest(Input):
    """What viewers did with what they were shown."""

    events: list[EventInput] = Field(
        min_length=1, max_length=MAX_EVENTS, description="In any order; of any requests."
    )

    @classmethod
    def in_steps(cls, document: Any) -> Steps[Self]:
        """Validate a parsed body, some events a step.

        Raises:
            InvalidRequestError: It names the mistakes.
        """
        return _EVENTS.validate(cls, document)
