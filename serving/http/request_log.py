"""One line in the log for every answer."""

import logging
from time import perf_counter

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.http.endpoints import label_of

logger = logging.getLogger(__name__)


class RequestLogMiddleware:
    """Logs method, path, status and time of every request that is answered, and whose key it carried.

    Ids are left out of paths: a log is kept longer than what it is about. What is refused because the service
    is full never comes here; metrics count it.

    Args:
        app: What answers; `MetricsMiddleware` in it sets `state.status`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        finally:
            state = scope["state"]
            fields = {
                "method": scope["method"] if scope["method"].isalpha() else "other",
                "path": label_of(scope["path"]),
                "status": state.get("status", 0),  # 0: the client has gone before it was answered
                "took_ms": round((perf_counter() - state["started"]) * 1000, 3),
                "key": state.get("key_name"),
            }
            said = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
            logger.info("request_id=%s %s", state["request_id"], said, extra={"fields": fields})
