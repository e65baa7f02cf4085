"""The service's log: lines of text, or a JSON object a line, on standard error.

A line that is logged while a request is served has the request's ids.
"""

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s%(trace)s"
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
request_fields: ContextVar[Mapping[str, str]] = ContextVar("request_fields", default=NOTHING)
"""The ids of the request that is being served: `request_id` and, if its caller traces it, `trace_id` etc."""


class LogFormat(StrEnum):
    """How the log is written."""

    TEXT = "text"
    JSON = "json"


def configure_logging(log_format: LogFormat = LogFormat.TEXT) -> None:
    """Log to standard error, in the same format in every process."""
    handler = logging.StreamHandler()
    if log_format is LogFormat.JSON:
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter(TEXT))
        handler.addFilter(add_trace)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def add_trace(record: logging.LogRecord) -> bool:
    """Give a line of text the trace that it belongs to, if any, for its end."""
    trace_id = request_fields.get().get("trace_id")
    record.trace = "" if trace_id is None else f" trace_id={trace_id}"
    return True


class JsonFormatter(logging.Formatter):
    """JSON objects for a log store: time, level, logger, message, the request's ids, and what a line adds.

    What a line adds is the mapping `fields` of its `extra`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **request_fields.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
