"""The caller's trace, so that this service's log lines are found beside those of the services before it.

Source: W3C Trace Context, https://www.w3.org/TR/trace-context/ (the header `traceparent`), and its later
level for the answer's header `traceresponse`, https://w3c.github.io/trace-context/#traceresponse-header.
"""

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

REQUEST_HEADER: Final = b"traceparent"
RESPONSE_HEADER: Final = "traceresponse"
_PARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_INVALID_VERSION: Final = b"ff"
_FIRST_VERSION: Final = b"00"


@dataclass(frozen=True)
class TraceContext:
    """A request's place in a trace.

    Attributes:
        trace_id: Of the whole trace, 32 hexadecimal digits.
        parent_id: Of the caller's part of it, 16 digits.
        span_id: Of this service's part, 16 digits.
        flags: The caller's, 2 digits: 01 if it records the trace.
    """

    trace_id: str
    parent_id: str
    span_id: str
    flags: str

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]]) -> Self | None:
        """Read a request's headers, whose names are in lower case.

        Returns:
            None if `traceparent` is absent, there twice, or invalid, and so to be ignored.
        """
        given = [value.strip() for name, value in headers if name == REQUEST_HEADER]
        found = _PARENT.fullmatch(given[0]) if len(given) == 1 else None
        if found is None:
            return None
        version, trace_id, parent_id, flags, rest = found.groups()
        if version == _INVALID_VERSION or (version == _FIRST_VERSION and rest is not None):
            return None
        if not (trace_id.strip(b"0") and parent_id.strip(b"0")):
            return None
        return cls(trace_id.decode(), parent_id.decode(), secrets.token_hex(8), flags.decode())

    @property
    def header(self) -> str:
        """The trace with this service's part of it, as `traceparent` and `traceresponse` have it."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"
