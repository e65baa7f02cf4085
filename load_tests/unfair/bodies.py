"""Bodies within the size limit that take as long as they can."""

import json
from collections.abc import Iterator
from typing import Any, Final

MAX_BYTES: Final = 2 * 2**20


def worst_bodies() -> Iterator[tuple[str, bytes]]:
    """Yield names and bodies; most are no requests that could be ranked."""
    yield "unknown fields", _filled(lambda part: f'{{"user": {{"id": "u"}}, {part}}}', '"{}": 1')
    yield "unknown columns", _filled(lambda part: _request(context=f"{{{part}}}"), '"{}": 1')
    yield (
        "values that no column can have",
        _filled(lambda part: _request(context=f"{{{part}}}"), '"{}": {{}}'),
    )
    yield "a list of numbers", _filled(lambda part: _request(context=f'{{"hour": [{part}]}}'), "{}")
    yield "a list of fractions", _filled(lambda part: _request(context=f'{{"hour": [{part}]}}'), "1.5")
    yield "candidates without an id", _filled(lambda part: _request(candidates=f"[{part}]"), "{{}}")
    yield "a million candidates that are none", _filled(lambda part: _request(candidates=f"[{part}]"), "1")
    yield "a list for an id", _filled(lambda part: _request(candidates=f'[{{"id": [{part}]}}]'), "{}")
    yield "objects in a text's place", _filled(lambda part: _request(policy=f"[{part}]"), "{{}}")
    yield "nesting", _filled(lambda part: f"[{part}]", "[" * 190 + "]" * 190)
    yield "1,000 candidates with unknown columns", _candidates('"x{}": 1', 60)
    yield "1,000 candidates with wrong values", _candidates('"x{}": [1.5]', 30)
    yield "1,000 candidates, each with other columns", _column_sets()
    yield "1,000 candidates with long lists", _candidates('"tags": [' + ", ".join(['"{}"'] * 30) + "]", 1)
    yield (
        "1,000 unknown columns of 2,000 characters",
        _request(context="{" + ",".join(f'"{number:x>2000}": 1' for number in range(1000)) + "}").encode(),
    )
    yield (
        "integers of 1,000 digits",
        _filled(lambda part: _request(context=f'{{"hour": [{part}]}}'), "1{:0999}"),
    )
    yield (
        "2,000 keys of 1,000 characters",
        _filled(lambda part: _request(context=f"{{{part}}}"), '"{:01000}": {{}}'),
    )


def _filled(around: Any, part: str) -> bytes:
    """Repeat a part, with a number in it, as often as fits."""
    size = len(around("")) + 1
    parts: list[str] = []
    while size < MAX_BYTES:
        parts.append(part.format(len(parts)))
        size += len(parts[-1]) + 1
    return str(around(",".join(parts[:-1]))).encode()


def _request(**fields: str) -> str:
    given = {"user": '{"id": "u"}', "candidates": '[{"id": "1"}]', **fields}
    return "{" + ",".join(f'"{name}":{value}' for name, value in given.items()) + "}"


def _candidates(part: str, count: int) -> bytes:
    columns = ",".join(part.format(*[number] * 30) for number in range(count))
    return _request(
        candidates="[" + ",".join(f'{{"id":"{i}","features":{{{columns}}}}}' for i in range(1000)) + "]"
    ).encode()


def _column_sets() -> bytes:
    names = ["channel_id", "topic", "language", "duration_s", "age_days", "views", "like_rate", "tags"]
    names += ["retrieval_score"]
    values: dict[str, Any] = dict.fromkeys(names, 1)
    values |= {"channel_id": "a", "topic": "b", "language": "c", "tags": ["d"]}
    candidates = [
        {"id": str(i), "features": {name: values[name] for bit, name in enumerate(names) if i >> bit & 1}}
        for i in range(1000)
    ]
    return _request(candidates=json.dumps(candidates)).encode()
