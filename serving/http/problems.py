"""Errors as RFC 9457 problem documents; the only place that gives errors an HTTP status.

Source: Nottingham et al., RFC 9457, https://www.rfc-editor.org/rfc/rfc9457.
"""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from ranker.errors import StoreError, UserError, WatchnextError
from serving.http.wordings import worded

logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
MOST_PLACES: Final = 50
"""Places that one document names; a body can hold thousands of mistakes."""
RETRY_AFTER: Final = {"Retry-After": "1"}
"""Seconds; a process empties its whole queue several times in one."""

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
    "invalid-request": (422, "The request is invalid"),
    "headers-too-large": (431, "The headers are too large"),
    "internal-error": (500, "The service failed"),
    "not-ready": (503, "The service is not ready"),
    "feature-store-away": (503, "The feature store does not answer"),
    "store-unavailable": (503, "The feature store does not answer"),
    "overloaded": (503, "Too many requests are waiting"),
    "deadline-passed": (503, "The deadline passed before the work began"),
}
"""Status and title, by the last part of `type`."""


class Place(NamedTuple):
    """One mistake in a request: where, as a JSON pointer (RFC 6901), and what was expected there."""

    pointer: str
    detail: str


class InvalidRequestError(UserError):
    """The request is JSON of the right shape, but what it says cannot be ranked.

    Attributes:
        places: Every mistake and where it is.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        super().__init__("; ".join(f"{place.pointer}: {place.detail}" for place in places))
        self.places = places


class DeadlinePassedError(WatchnextError):
    """The request's deadline passed before its work began."""


class Problem(HTTPException):
    """An answer that is a problem document.

    Args:
        kind: A key of `KINDS`.
        detail: What happened this time.
        headers: Headers of the answer.
    """

    def __init__(self, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(KINDS[kind][0], detail, headers)
        self.kind = kind


class PlaceDocument(BaseModel):
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
    errors: tuple[PlaceDocument, ...] = Field((), description="The mistakes in the request.")


def body_too_large(limit: int) -> Problem:
    """The answer to a body of more than `limit` bytes."""
    return Problem("body-too-large", f"expected at most {limit} bytes")


def body_too_slow(limit_s: float) -> Problem:
    """The answer to a body that is not there after `limit_s` seconds."""
    return Problem("body-too-slow", f"expected the whole body within {limit_s:g} s", {"Connection": "close"})


def not_declared_as_json(content_type: str | None) -> Problem:
    """The answer to a body of another media type."""
    detail = f"expected Content-Type: application/json, found {content_type or 'none'}"
    return Problem("not-declared-as-json", detail)


def not_json(reason: str) -> Problem:
    """The answer to a body that cannot be parsed."""
    return Problem("not-json", f"expected JSON in UTF-8, found: {reason}")


def not_ready(reason: str) -> Problem:
    """The answer of a service that lacks what it needs."""
    return Problem("not-ready", reason)


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problem documents in the description of a route, one for each status that it may answer with."""
    schema = ProblemDocument.model_json_schema()
    schema["properties"]["errors"]["items"] = schema.pop("$defs")[PlaceDocument.__name__]
    return {
        status: {"description": _titles(status), "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Answer every error of the app with a problem document."""
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _shape_problem)
    app.add_exception_handler(InvalidRequestError, _invalid_problem)
    app.add_exception_handler(DeadlinePassedError, _deadline_problem)
    app.add_exception_handler(StoreError, _store_problem)


def pointer(parts: Sequence[str | int]) -> str:
    """A JSON pointer to a place inside a document."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def document(request_id: str, kind: str, detail: str, places: Sequence[Place] = ()) -> bytes:
    """A problem document as JSON.

    Args:
        request_id: Names the request in the log.
        kind: A key of `KINDS`.
        detail: What happened this time.
        places: The mistakes in the request.
    """
    status, title = KINDS[kind]
    return _json(request_id, kind, status, title, detail, places)


def response(
    request_id: str,
    kind: str,
    detail: str,
    *,
    places: Sequence[Place] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem document as an answer.

    Args:
        request_id: Names the request in the log.
        kind: A key of `KINDS`.
        detail: What happened this time.
        places: The mistakes in the request.
        headers: Headers of the answer.
    """
    body = document(request_id, kind, detail, places)
    return Response(body, KINDS[kind][0], headers, MEDIA_TYPE)


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status, detail, kind = error.status_code, error.detail, ""
    if isinstance(error, Problem):
        kind = error.kind
    elif status == 404:
        kind, detail = "not-found", f"found nothing at {request.url.path}; /docs lists the paths"
    elif status == 405:
        kind, detail = "method-not-allowed", f"{request.url.path} does not take {request.method}"
    if kind:
        return response(request.state.request_id, kind, detail, headers=error.headers)
    body = _json(request.state.request_id, "http", status, HTTPStatus(status).phrase, detail)
    return Response(body, status, error.headers, MEDIA_TYPE)


async def _shape_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _invalid(request, [_place(detail) for detail in error.errors()])


async def _invalid_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidRequestError)
    return _invalid(request, error.places)


async def _deadline_problem(request: Request, error: Exception) -> Response:
    request.app.state.metrics.reject("deadline")
    return response(request.state.request_id, "deadline-passed", str(error), headers=RETRY_AFTER)


async def _store_problem(request: Request, error: Exception) -> Response:
    logger.error("request %s failed: %s", request.state.request_id, error)
    detail = "expected the feature store to answer; nothing was stored"
    return response(request.state.request_id, "store-unavailable", detail, headers=RETRY_AFTER)


def _place(detail: Mapping[str, Any]) -> Place:
    """Name the place of one of pydantic's complaints; its first part only says that it is in the body."""
    return Place(pointer(detail["loc"][1:]), worded(detail))


def _invalid(request: Request, places: Sequence[Place]) -> Response:
    first, more = places[0], len(places) - 1
    detail = f"{first.pointer or 'the body'}: {first.detail}" + (f"; and {more} more" if more else "")
    return response(request.state.request_id, "invalid-request", detail, places=places[:MOST_PLACES])


def _titles(status: int) -> str:
    return ", or: ".join(title for of, title in KINDS.values() if of == status)


def _json(
    request_id: str, slug: str, status: int, title: str, detail: str, places: Sequence[Place] = ()
) -> bytes:
    problem = ProblemDocument(
        type=f"urn:watchnext:{slug}",
        title=title,
        status=status,
        detail=detail,
        request_id=request_id,
        errors=tuple(PlaceDocument(pointer=p.pointer, detail=p.detail) for p in places),
    )
    return problem.model_dump_json(exclude_defaults=not places).encode()
