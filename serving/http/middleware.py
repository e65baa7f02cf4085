"""What every request passes on its way to a route, and back."""

from typing import Any

from fastapi import FastAPI

from serving.http import metrics, problem_handlers
from serving.http.admission import MOST_TIMEOUT_MS, RANK_PATH, TIMEOUT_HEADER, Admission, AdmissionMiddleware
from serving.http.auth import NEEDED, OPEN, ApiKeyMiddleware
from serving.http.defects import DefectMiddleware
from serving.http.metrics import Metrics, MetricsMiddleware
from serving.http.pace import Pace
from serving.http.problem_documents import described
from serving.http.request_id import RequestIdMiddleware
from serving.settings import ServingSettings


def install(app: FastAPI, settings: ServingSettings) -> None:
    """Put an application's routes behind ids, metrics, keys and admission, and errors in problem documents.

    Sets `app.state.settings`, `app.state.metrics`, `app.state.pace` and `app.state.admission`.

    Args:
        app: Its routes may be added before or after.
        settings: Keys and limits.
    """
    app.state.settings = settings
    app.state.metrics = counted = Metrics(OPEN.union(NEEDED))
    app.state.pace = Pace()
    app.state.admission = Admission(settings.max_waiting, counted, app.state.pace)
    # from the innermost to the outermost
    app.add_middleware(AdmissionMiddleware, admission=app.state.admission)
    if settings.api_keys:
        app.add_middleware(ApiKeyMiddleware, keys=settings.api_keys, metrics=counted)
    app.add_middleware(DefectMiddleware)
    app.add_middleware(MetricsMiddleware, metrics=counted)
    app.add_middleware(RequestIdMiddleware)
    problem_handlers.install(app)
    app.include_router(metrics.router)
    _describe(app, has_keys=bool(settings.api_keys))


def _describe(app: FastAPI, *, has_keys: bool) -> None:
    """Say in the application's OpenAPI document what stands before the routes."""
    undescribed = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = undescribed()
            if has_keys:
                schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
                schemes["key"] = {"type": "http", "scheme": "bearer"}
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    statuses: list[int] = []
                    if has_keys and path not in OPEN:
                        operation["security"] = [{"key": []}]
                        statuses += 401, 403
                    if path == RANK_PATH:
                        operation.setdefault("parameters", []).append(_timeout_parameter())
                        statuses += 408, 503
                    for status, answer in described(*statuses).items():
                        operation["responses"].setdefault(str(status), answer)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _timeout_parameter() -> dict[str, Any]:
    return {
        "name": TIMEOUT_HEADER,
        "in": "header",
        "required": False,
        "description": "After so many milliseconds nobody waits for the answer, and work is not begun.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MOST_TIMEOUT_MS},
    }
