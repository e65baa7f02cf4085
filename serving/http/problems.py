"""Responses that are problem documents, and the exception that is answered with one."""

from collections.abc import Mapping, Sequence
from typing import Final

from fastapi import Response
from starlette.exceptions import HTTPException

from ranker.errors import Mistake
from serving.http.problem_documents import KINDS, MEDIA_TYPE, document

RETRY_AFTER: Final = {"Retry-After": "1"}
"""Seconds; a process works off a full queue several times in one."""


class Problem(HTTPException):
    """An error that is answered with a problem document.

    Args:
        kind: A key of `KINDS`.
        detail: What happened this time.
        headers: Headers of the answer.
    """

    def __init__(self, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(KINDS[kind][0], detail, headers)
        self.kind = kind

    def response(self, request_id: str) -> Response:
        """The answer to the request of this id."""
        return response(request_id, self.kind, self.detail, headers=self.headers)


def body_too_large(limit: int) -> Problem:
    """The answer to a body of more than `limit` bytes."""
    return Problem("body-too-large", f"expected at most {limit} bytes")


def body_too_slow(limit_s: float) -> Problem:
    """The answer to a body that is not complete after `limit_s` seconds."""
    return Problem("body-too-slow", f"expected the whole body within {limit_s:g} s", {"Connection": "close"})


def too_many_values(limit: int) -> Problem:
    """The answer to a body that holds more than `limit` values."""
    return Problem("body-too-large", f"expected at most {limit} values, counted by commas and brackets")


def too_many_digits(limit: int) -> Problem:
    """The answer to a body with more than `limit` digits in a row."""
    return Problem("body-too-large", f"expected at most {limit} digits in a row")


def not_declared_as_json(content_type: str | None) -> Problem:
    """The answer to a body of another media type."""
    detail = f"expected Content-Type: application/json, found {content_type or 'none'}"
    return Problem("not-declared-as-json", detail)


def not_json(reason: str) -> Problem:
    """The answer to a body that cannot be parsed."""
    return Problem("not-json", f"expected JSON in UTF-8, found: {reason}")


def overloaded(detail: str) -> Problem:
    """The answer while there is no room for a request."""
    return Problem("overloaded", detail, RETRY_AFTER)


def deadline_passed(detail: str) -> Problem:
    """The answer to a request that came too late to be worked on."""
    return Problem("deadline-passed", detail, RETRY_AFTER)


def not_ready(reason: str) -> Problem:
    """The answer of a service that lacks what it needs."""
    return Problem("not-ready", reason)


def response(
    request_id: str,
    kind: str,
    detail: str,
    *,
    mistakes: Sequence[Mistake] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make a response with a problem document.

    Args:
        request_id: Names the request in the log.
        kind: A key of `KINDS`.
        detail: What happened this time.
        mistakes: The mistakes in the request.
        headers: Headers of the answer.
    """
    body = document(request_id, kind, detail, mistakes)
    return Response(body, KINDS[kind][0], headers, MEDIA_TYPE)
