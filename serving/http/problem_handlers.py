"""Maps errors to problem documents; the only place that gives errors an HTTP status."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ranker.errors import (
    DeadlinePassedError,
    InvalidRequestError,
    LogFullError,
    Mistake,
    StoreAwayError,
    StoreError,
)
from serving.http.json_pointer import json_pointer
from serving.http.mistakes import MAX_COUNTED, MAX_MISTAKES
from serving.http.problem_documents import MEDIA_TYPE, other_document
from serving.http.problems import RETRY_AFTER, Problem, response
from serving.http.validation_messages import validation_message

logger = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    """Answer every error of the app with a problem document."""
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _shape_problem)
    app.add_exception_handler(InvalidRequestError, _invalid_problem)
    app.add_exception_handler(DeadlinePassedError, _deadline_problem)
    app.add_exception_handler(StoreError, _store_problem)
    app.add_exception_handler(LogFullError, _full_problem)


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
    body = other_document(request.state.request_id, "http", status, HTTPStatus(status).phrase, detail)
    return Response(body, status, error.headers, MEDIA_TYPE)


async def _shape_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _invalid(request, [_mistake(detail) for detail in error.errors()])


async def _invalid_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidRequestError)
    return _invalid(request, error.mistakes, error.more)


async def _deadline_problem(request: Request, error: Exception) -> Response:
    request.app.state.metrics.reject("deadline")
    return response(request.state.request_id, "deadline-passed", str(error), headers=RETRY_AFTER)


async def _store_problem(request: Request, error: Exception) -> Response:
    logger.error("request %s failed: %s", request.state.request_id, error)
    detail = "expected the feature store to answer; nothing was changed, so send it again later"
    if not isinstance(error, StoreAwayError):
        detail = (
            "expected the feature store to answer; whether the change was made is not known, "
            "so send it again: twice does no harm"
        )
    return response(request.state.request_id, "store-unavailable", detail, headers=RETRY_AFTER)


async def _full_problem(request: Request, error: Exception) -> Response:
    return response(request.state.request_id, "log-full", str(error), headers=RETRY_AFTER)


def _mistake(detail: Mapping[str, Any]) -> Mistake:
    """Convert one of pydantic's errors; the first part of its location is always `body`."""
    return Mistake(json_pointer(detail["loc"][1:]), validation_message(detail))


def _invalid(request: Request, mistakes: Sequence[Mistake], more: int = 0) -> Response:
    first, more = mistakes[0], len(mistakes) - 1 + more
    how_many = f"at least {more}" if more + 1 >= MAX_COUNTED else str(more)
    detail = f"{first.pointer or 'the body'}: {first.detail}" + (f"; and {how_many} more" if more else "")
    return response(request.state.request_id, "invalid-request", detail, mistakes=mistakes[:MAX_MISTAKES])
