"""Hooks for schemathesis, loaded through SCHEMATHESIS_HOOKS: the model's columns, and counts of the answers.

The OpenAPI document allows any column in `features` and any name as `policy`. The hooks add those that the
model has, so that cases reach the model and not only the check of names. They raise deadlines to ten seconds,
because a missed deadline is properly answered with 503.
"""

import atexit
import json
import os
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import schemathesis

from ranker.event_times import EARLIEST_MS

VALUES: dict[str, dict[str, Any]] = {
    "number": {"type": ["number", "boolean", "null"]},
    "id": {"type": ["string", "number", "boolean", "null"]},
    "category": {"type": ["string", "number", "boolean", "null"]},
    "ids": {"type": ["array", "null"], "items": {"type": ["string", "integer"]}},
}
"""JSON schema of a feature's value by its kind."""
MIN_TIMEOUT_MS = 10_000
"""This is added to valid deadlines that are shorter."""
PLAUSIBLE_MS = 20 * 365 * 86_400_000
"""Three of four times are brought into the twenty years from `EARLIEST_MS` on: most others are refused."""

_lock = threading.Lock()
_statuses: dict[str, Counter[str]] = defaultdict(Counter)


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_load_schema(_: Any, raw_schema: dict[str, Any]) -> None:
    """Add the model's columns and score policies to the document."""
    columns: dict[str, dict[str, str]] = json.loads(os.environ["FUZZ_COLUMNS"])
    schemas = raw_schema["components"]["schemas"]
    for name, field, sides in (
        ("UserInput", "features", ("user",)),
        ("Candidate", "features", ("candidate", "pair")),
        ("RankRequest", "query_features", ("query",)),
        ("RankRequest", "context", ("context",)),
        ("RecordInput", "features", ("user", "candidate")),
    ):
        named = {column: VALUES[kind] for side in sides for column, kind in columns[side].items()}
        schemas[name]["properties"][field]["properties"] = named
    schemas["RankRequest"]["properties"]["policy"] = {
        "enum": [*json.loads(os.environ["FUZZ_POLICIES"]), None]
    }


@schemathesis.auth()  # type: ignore[untyped-decorator]
class Key:
    """Sends the API key, except in cases that test its absence."""

    def get(self, case: Any, _: Any) -> str:
        """Return the key."""
        return os.environ["FUZZ_KEY"]

    def set(self, case: Any, key: str, _: Any) -> None:
        """Add the key to a case."""
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {key}"}


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_call(_: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Raise short deadlines, and make most times plausible."""
    if case.operation.label != "POST /v1/rank":
        return
    header = str((case.headers or {}).get("X-Timeout-Ms", ""))
    if header.isascii() and header.isdigit() and 1 <= int(header) < MIN_TIMEOUT_MS:
        case.headers["X-Timeout-Ms"] = str(MIN_TIMEOUT_MS + int(header))
    if isinstance(case.body, dict):
        time_ms = case.body.get("time_ms")
        if type(time_ms) is int and time_ms % 4 and 0 < time_ms < 2**63:
            case.body["time_ms"] = EARLIEST_MS + time_ms % PLAUSIBLE_MS
        timeout = case.body.get("timeout_ms")
        if type(timeout) is int and 1 <= timeout < MIN_TIMEOUT_MS:
            case.body["timeout_ms"] = MIN_TIMEOUT_MS + timeout


@schemathesis.hook  # type: ignore[untyped-decorator]
def after_call(_: Any, case: Any, response: Any) -> None:
    """Count an answer by its status; a 503 also by its problem type."""
    status = str(response.status_code)
    if status == "503":
        status = f"503 {response.json().get('type', '').removeprefix('urn:watchnext:')}"
    with _lock:
        _statuses[case.operation.label][status] += 1


@schemathesis.hook  # type: ignore[untyped-decorator]
def after_network_error(_: Any, case: Any, request: Any) -> None:
    """Count a case without an answer."""
    with _lock:
        _statuses[case.operation.label]["no answer"] += 1


@atexit.register
def write() -> None:
    """Write the counts."""
    Path(os.environ["FUZZ_TALLY"]).write_text(json.dumps(_statuses))
