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

from ranker.errors import UserError
from serving.request_id import HEADER

logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
MOST_PLACES: Final = 50
"""Places that one document names; a body can hold thousands of mistakes."""

KINDS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("not-json", "The body is not JSON"),
    404: ("not-found", "There is nothing at this path"),
    405: ("method-not-allowed", "The path does not take this method"),
    413: ("body-too-large", "The body is too large"),
    415: ("not-declared-as-json", "The body is not declared as JSON"),
    422: ("invalid-request", "The request is invalid"),
    500: ("internal-error", "The service failed"),
    503: ("not-ready", "The service is not ready"),
}
"""The last part of `type`, and the title, by status."""

WORDINGS: Final[Mapping[str, str]] = {
    "extra_forbidden": "unknown field",
    "missing": "expected this field, found none",
    "model_attributes_type": "expected an object",
    "dict_type": "expected an object",
}
"""Messages of pydantic, by its type of error, that speak of Python instead of JSON."""


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


def body_too_large(limit: int) -> HTTPException:
    """The answer to a body of more than `limit` bytes."""
    return HTTPException(413, f"expected at most {limit} bytes")


def not_declared_as_json(content_type: str | None) -> HTTPException:
    """The answer to a body of another media type."""
    return HTTPException(415, f"expected Content-Type: application/json, found {content_type or 'none'}")


def not_json(reason: str) -> HTTPException:
    """The answer to a body that cannot be parsed."""
    return HTTPException(400, f"expected JSON in UTF-8, found: {reason}")


def not_ready(reason: str) -> HTTPException:
    """The answer of a service that lacks what it needs."""
    return HTTPException(503, reason)


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problem documents in the description of a route, one for each status that it may answer with."""
    schema = ProblemDocument.model_json_schema()
    schema["properties"]["errors"]["items"] = schema.pop("$defs")[PlaceDocument.__name__]
    return {
        status: {"description": KINDS[status][1], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Answer every error of the app with a problem document."""
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _shape_problem)
    app.add_exception_handler(InvalidRequestError, _invalid_problem)
    app.add_exception_handler(Exception, _internal_problem)


def pointer(parts: Sequence[str | int]) -> str:
    """A JSON pointer to a place inside a document."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code == 404:
        detail = f"found nothing at {request.url.path}; /docs lists the paths"
    if error.status_code == 405:
        detail = f"{request.url.path} does not take {request.method}"
    return _problem(request, error.status_code, detail, headers=error.headers)


async def _shape_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _invalid(request, [_place(detail) for detail in error.errors()])


async def _invalid_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidRequestError)
    return _invalid(request, error.places)


async def _internal_problem(request: Request, error: Exception) -> Response:
    logger.error("request %s failed: %r", request.state.request_id, error)
    headers = {HEADER: request.state.request_id}  # this answer passes by the middleware that adds it
    return _problem(request, 500, "the service's log says what happened", headers=headers)


def _place(detail: Mapping[str, Any]) -> Place:
    """Name the place of one of pydantic's complaints; its first part only says that it is in the body."""
    return Place(pointer(detail["loc"][1:]), WORDINGS.get(detail["type"], str(detail["msg"])))


def _invalid(request: Request, places: Sequence[Place]) -> Response:
    first, more = places[0], len(places) - 1
    detail = f"{first.pointer or 'the body'}: {first.detail}" + (f"; and {more} more" if more else "")
    return _problem(request, 422, detail, places[:MOST_PLACES])


def _problem(
    request: Request,
    status: int,
    detail: str,
    places: Sequence[Place] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    slug, title = KINDS.get(status, ("http", HTTPStatus(status).phrase))
    document = ProblemDocument(
        type=f"urn:watchnext:{slug}",
        title=title,
        status=status,
        detail=detail,
        request_id=request.state.request_id,
        errors=tuple(PlaceDocument(pointer=p.pointer, detail=p.detail) for p in places),
    )
    body = document.model_dump_json(exclude_defaults=not places)
    return Response(body, status, {**(headers or {})}, MEDIA_TYPE)
