"""Problem documents: the body of every error's answer.

Source: Nottingham et al., RFC 9457, https://www.rfc-editor.org/rfc/rfc9457.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from ranker.errors import Mistake

MEDIA_TYPE: Final = "application/problem+json"

KINDS: Final[Mapping[str, tuple[int, str]]] = {
    "not-json": (400, "The body is not JSON"),
    "malformed": (400, "The request is not HTTP"),
    "unauthenticated": (401, "The request carries no valid key"),
    "forbidden": (403, "The key's role does not suffice"),
    "not-found": (404, "There is nothing at this path"),
    "method-not-allowed": (405, "The path does not take this method"),
    "body-too-slow": (408, "The body took too long to come"),
    "body-too-large": (413, "The body is too large"),
    "not-declared-as-json": (415, "The body is not declared as JSON"),
    "misdirected": (421, "The service does not answer to this Host"),
    "invalid-request": (422, "The request is invalid"),
    "headers-too-large": (431, "The headers are too large"),
    "internal-error": (500, "The service failed"),
    "not-ready": (503, "The service is not ready"),
    "store-unavailable": (503, "The feature store does not answer"),
    "log-full": (503, "The log of events is full"),
    "overloaded": (503, "Too many requests are waiting"),
    "deadline-passed": (503, "The deadline passed before the work began"),
}
"""Status and title, by the last part of `type`."""


class MistakeDocument(BaseModel):
    """One mistake in the request."""

    model_config = ConfigDict(frozen=True)

    pointer: str = Field(description="JSON pointer into the body.", examples=["/candidates/3/id"])
    detail: str = Field(description="What was expected there.", examples=["expected 1 to 256 characters"])


class ProblemDocument(BaseModel):
    """A problem document, RFC 9457."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="What kind of problem it is.", examples=["urn:watchnext:invalid-request"])
    title: str = Field(description="The kind in words.", examples=["The request is invalid"])
    status: int = Field(description="The HTTP status.", examples=[422])
    detail: str = Field(description="What happened this time.", examples=["/candidates/3/id: expected text"])
    request_id: str = Field(description="Names the request in the service's log.")
    errors: tuple[MistakeDocument, ...] = Field((), description="The mistakes in the request.")


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe problem documents for OpenAPI's `responses` of a route, one for each status."""
    schema = ProblemDocument.model_json_schema()
    schema["properties"]["errors"]["items"] = schema.pop("$defs")[MistakeDocument.__name__]
    return {
        status: {"description": _titles(status), "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def document(request_id: str, kind: str, detail: str, mistakes: Sequence[Mistake] = ()) -> bytes:
    """Write a problem document as JSON.

    Args:
        request_id: Names the request in the log.
        kind: A key of `KINDS`.
        detail: What happened this time.
        mistakes: The mistakes in the request.
    """
    status, title = KINDS[kind]
    return other_document(request_id, kind, status, title, detail, mistakes)


def other_document(
    request_id: str, kind: str, status: int, title: str, detail: str, mistakes: Sequence[Mistake] = ()
) -> bytes:
    """Write a problem document of a kind that is not in `KINDS`, otherwise as `document` does."""
    problem = ProblemDocument(
        type=f"urn:watchnext:{kind}",
        title=title,
        status=status,
        detail=detail,
        request_id=request_id,
        errors=tuple(MistakeDocument(pointer=m.pointer, detail=m.detail) for m in mistakes),
    )
    return problem.model_dump_json(exclude_defaults=not mistakes).encode()


def _titles(status: int) -> str:
    return ", or: ".join(title for of, title in KINDS.values() if of == status)
