"""What schemathesis is told beside the OpenAPI document, and a count of what became of its cases.

Runs inside schemathesis, which SCHEMATHESIS_HOOKS tells of it. The document says that `features` may hold any
column, and `policy` any name; which ones the model has is not in it. They are named here, so that cases reach
the model and not only the check of names. Deadlines are ten seconds at least, because a missed one is rightly
answered with 503.
"""

import atexit
import json
import os
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import schemathesis

VALUES: dict[str, dict[str, Any]] = {
    "number": {"type": ["number", "boolean", "null"]},
    "id": {"type": ["string", "number", "boolean", "null"]},
    "category": {"type": ["string", "number", "boolean", "null"]},
    "ids": {"type": ["array", "null"], "items": {"type": ["string", "integer"]}},
}
"""What fits a feature, by its kind."""
LEAST_TIMEOUT_MS = 10_000
"""Deadlines that are allowed and shorter are made longer by as much."""

_lock = threading.Lock()
_statuses: dict[str, Counter[str]] = defaultdict(Counter)


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_load_schema(_: Any, raw_schema: dict[str, Any]) -> None:
    """Name the model's columns and score policies."""
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
    """Gives cases the API key, except those that are made to lack it."""

    def get(self, case: Any, _: Any) -> str:
        """The key."""
        return os.environ["FUZZ_KEY"]

    def set(self, case: Any, key: str, _: Any) -> None:
        """Give it to a case."""
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {key}"}


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_call(_: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Leave time for an answer."""
    if case.operation.label != "POST /v1/rank":
        return
    header = str((case.headers or {}).get("X-Timeout-Ms", ""))
    if header.isascii() and header.isdigit() and 1 <= int(header) < LEAST_TIMEOUT_MS:
        case.headers["X-Timeout-Ms"] = str(LEAST_TIMEOUT_MS + int(header))
    if isinstance(case.body, dict):
        timeout = case.body.get("timeout_ms")
        if type(timeout) is int and 1 <= timeout < LEAST_TIMEOUT_MS:
            case.body["timeout_ms"] = LEAST_TIMEOUT_MS + timeout


@schemathesis.hook  # type: ignore[untyped-decorator]
def after_call(_: Any, case: Any, response: Any) -> None:
    """Count an answer; a 503 by what it says."""
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
