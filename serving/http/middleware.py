"""The middlewares that every request passes on its way to a route and back, in their order."""

from typing import Any

from fastapi import FastAPI

from serving.http import docs_route, metrics_route, problem_handlers
from serving.http.admission import Admission, AdmissionMiddleware
from serving.http.auth import ApiKeyMiddleware
from serving.http.bodies import Bodies
from serving.http.deadline import MAX_TIMEOUT_MS, TIMEOUT_HEADER
from serving.http.endpoints import ENDPOINTS, RANK, needed_role
from serving.http.hosts import HostMiddleware
from serving.http.key_ring import KeyRing
from serving.http.metrics import Metrics
from serving.http.metrics_middleware import MetricsMiddleware
from serving.http.problem_documents import described
from serving.http.request_id import RequestIdMiddleware
from serving.http.request_log import RequestLogMiddleware
from serving.http.service_time import ServiceTime
from serving.http.turns import Turns
from serving.http.unhandled_errors import UnhandledErrorMiddleware
from serving.settings import ServingSettings


def install(app: FastAPI, settings: ServingSettings) -> None:
    """Install request ids, metrics, names, keys and admission, and answer errors with problem documents.

    Sets `app.state.settings`, `metrics`, `service_time`, `admission`, `bodies`, `turns` and `keys`, which is
    to be started.

    Args:
        app: Its routes may be added before or after.
        settings: Keys and limits.
    """
    app.state.settings = settings
    app.state.metrics = metrics = Metrics(frozenset(ENDPOINTS))
    app.state.service_time = ServiceTime()
    app.state.admission = Admission(
        settings.max_waiting_candidates, metrics, app.state.service_time, by_key=settings.has_keys
    )
    app.state.bodies = Bodies(settings.max_body_bytes, settings.body_timeout_s)
    app.state.turns = Turns()
    # from the innermost to the outermost
    app.add_middleware(AdmissionMiddleware, admission=app.state.admission, bodies=app.state.bodies)
    app.state.keys = keys = KeyRing(settings.api_keys, settings.api_keys_file)
    if settings.has_keys:
        app.add_middleware(ApiKeyMiddleware, keys=keys, metrics=metrics)
    if settings.names is not None:
        app.add_middleware(HostMiddleware, names=settings.names)
    app.add_middleware(UnhandledErrorMiddleware)
    app.add_middleware(MetricsMiddleware, metrics=metrics)
    if settings.request_log:
        app.add_middleware(RequestLogMiddleware)
    app.add_middleware(RequestIdMiddleware)
    problem_handlers.install(app)
    app.include_router(metrics_route.router)
    app.include_router(docs_route.router)
    _describe_middlewares(app, has_keys=settings.has_keys, has_names=settings.names is not None)


def _describe_middlewares(app: FastAPI, *, has_keys: bool, has_names: bool) -> None:
    """Add to the application's OpenAPI document what the middlewares ask for and answer."""
    undescribed = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = undescribed()
            if has_keys:
                schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
                schemes["key"] = {"type": "http", "scheme": "bearer"}
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    statuses = [421] if has_names else []
                    if has_keys and needed_role(path) is not None:
                        operation["security"] = [{"key": []}]
                        statuses += 401, 403
                    if path == RANK.path:
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
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_MS},
    }
