"""Bodies of requests of the HTTP interface."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, NotRequired, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    StrictInt,
    TypeAdapter,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from typing_extensions import TypedDict

from ranker.features.entity_ids import ID_EXPECTED, id_text
from ranker.features.hashing import MAX_BYTES
from serving.http.deadline import MAX_TIMEOUT_MS
from serving.http.long_lists import LongList
from serving.http.turns import Steps

MAX_CANDIDATES: Final = 1_000
_SHORT_ID: Final = MAX_BYTES // 4
"""Characters of an id that take no more than `MAX_BYTES`, whichever they are."""
MAX_FIELDS: Final = 50
"""Fields of an object; pydantic would describe each unknown one."""
MAX_COLUMNS: Final = 1_000
"""Columns of one viewer, video or request."""


@dataclass(frozen=True)
class _Expects:
    """Replaces the messages of all members of a union by a single one."""

    what: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.custom_error_schema(
            handler(source), custom_error_type="unexpected", custom_error_message=f"expected {self.what}"
        )


@dataclass(frozen=True)
class AtMost:
    """Refuses an object of more keys before its values are looked at."""

    keys: int

    def __call__(self, value: Any) -> Any:
        """The value, if it is not too large an object."""
        if isinstance(value, dict) and len(value) > self.keys:
            raise PydanticCustomError(
                "too_many_keys",
                "expected at most {most} keys, found {found}",
                {"most": self.keys, "found": len(value)},
            )
        return value


Value = Annotated[
    str
    | int
    | Annotated[float, Field(allow_inf_nan=False)]
    | bool
    | Annotated[list[str | StrictInt], Field(fail_fast=True)]
    | None,
    _Expects("text, a finite number, true, false, a list of ids, or null"),
]
Features = Annotated[dict[str, Value], BeforeValidator(AtMost(MAX_COLUMNS))]
# Short text first and no Python on the way: a request has hundreds of ids.
_TextOrInteger = Annotated[
    Annotated[str, Field(min_length=1, max_length=_SHORT_ID)]
    | Annotated[str, Field(max_length=MAX_BYTES), AfterValidator(id_text)]
    | Annotated[int, Field(strict=True), AfterValidator(id_text)],
    Field(union_mode="left_to_right"),
    _Expects(ID_EXPECTED),
]
Id = Annotated[
    str,
    GetPydanticSchema(lambda _, handler: handler.generate_schema(_TextOrInteger)),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "minLength": 1, "maxLength": MAX_BYTES}, {"type": "integer"}]}
    ),
]


class Schema(BaseModel):
    """A frozen part of the interface that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Input(Schema):
    """A part of a request."""

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, value: Any) -> Any:
        return AtMost(MAX_FIELDS)(value)


class UserInput(Input):
    """The viewer."""

    id: Id | None = Field(
        None,
        description='The viewer\'s id; 712 and "712" are the same. Without it the viewer is unknown, such as '
        "one who is signed out.",
        examples=["712"],
    )
    features: Features = Field({}, description="Columns known to the caller; they replace the stored ones.")


# A TypedDict: validating hundreds of pydantic models would take as long as everything else together.
class Candidate(TypedDict):
    """A video to be scored."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    id: Annotated[Id, Field(description='The video\'s id; 17 and "17" are the same.', examples=["17"])]
    features: NotRequired[
        Annotated[
            Features,
            Field(description="Columns of the video, or of viewer and video; they replace the stored ones."),
        ]
    ]
    source: NotRequired[
        Annotated[
            str | None,
            Field(
                max_length=256,
                description="The candidate generator that proposed it.",
                examples=["co_watched"],
            ),
        ]
    ]


_CANDIDATES: Final = LongList(
    "candidates",
    TypeAdapter(Annotated[Candidate, BeforeValidator(AtMost(MAX_FIELDS))]),
    {"id": "1"},
    MAX_CANDIDATES,
)


class RankRequest(Input):
    """One viewer asks what to watch next."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "user": {"id": "712"},
                    "query_video_id": "5239",
                    "context": {"tab": 1, "hour": 21},
                    "candidates": [
                        {"id": "6831"},
                        {"id": "17", "features": {"duration_s": 30.5}, "source": "co_watched"},
                    ],
                    "limit": 20,
                    "explain": True,
                }
            ]
        }
    )

    user: UserInput = Field(description="Who asks.")
    query_video_id: Id | None = Field(None, description="The video that is on now.", examples=["5239"])
    query_features: Features = Field(
        {}, description="Columns of the query video, without `query_`; they replace the stored ones."
    )
    context: Features = Field(
        {},
        description="What is known of the moment, by the model's context columns.",
        examples=[{"hour": 21}],
    )
    candidates: list[Candidate] = Field(
        min_length=1, max_length=MAX_CANDIDATES, description="The videos to rank, each once."
    )
    time_ms: int | None = Field(
        None,
        strict=True,
        ge=1,
        lt=2**63,
        description="When the request was made, Unix epoch in milliseconds; now by default. Rates and ages "
        "are read as of then. It lies between 2000 and a day from now.",
    )
    limit: int | None = Field(
        None,
        strict=True,
        ge=1,
        le=MAX_CANDIDATES,
        description="How many of the best to return; all by default.",
    )
    explain: bool = Field(False, strict=True, description="Return each head's contribution to the score.")
    policy: str | None = Field(
        None,
        max_length=64,
        description="The score policy to rank by, one of those that `GET /v1/model` lists; `default` by "
        "default.",
        examples=["default"],
    )
    timeout_ms: int | None = Field(
        None,
        strict=True,
        ge=1,
        le=MAX_TIMEOUT_MS,
        description="How long the answer is of use, from when the request came; X-Timeout-Ms says the same.",
    )

    @classmethod
    def in_steps(cls, document: Any) -> Steps[Self]:
        """Validate a parsed body, some candidates a step.

        Raises:
            InvalidRequestError: It names the mistakes.
        """
        return _CANDIDATES.validate(cls, document)


class RecordInput(Input):
    """What is known of one viewer or video."""

    id: Id = Field(description='712 and "712" are the same.', examples=["17"])
    features: Features = Field({}, description="Its columns.", examples=[{"duration_s": 30.5}])
