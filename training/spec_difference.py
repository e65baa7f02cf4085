"""In which keys two specs differ, for whoever resumes a run with another spec than it began with."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

MISSING: Final = object()
"""Stands for a key that one of the specs does not have."""
NAMES: Final = ("name", "head")
"""The keys by which items of a list are told apart."""


@dataclass(frozen=True)
class Difference:
    """A key in which two specs differ.

    Attributes:
        path: The key and those above it, as in the messages of a spec's mistakes.
        expected: Its value in the spec that is asked for.
        found: Its value in the other.
    """

    path: tuple[str, ...]
    expected: Any
    found: Any

    def __str__(self) -> str:
        where = " > ".join(self.path) or "the spec"
        return f"expected spec {where}: {_text(self.expected)}, found {_text(self.found)}"


def differences(expected: Any, found: Any) -> list[Difference]:
    """Compare two specs as parsed YAML, in the order of their keys.

    Items of lists that have names, such as features, are compared with the item of that name; if only their
    order differs, the difference is the list of names.
    """
    return list(_differences(expected, found, ()))


def _differences(expected: Any, found: Any, path: tuple[str, ...]) -> Iterator[Difference]:
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in {**expected, **found}:
            yield from _differences(expected.get(key, MISSING), found.get(key, MISSING), (*path, str(key)))
        return
    names = _names(expected), _names(found)
    if names[0] is None or names[1] is None:
        if expected != found:
            yield Difference(path, expected, found)
        return
    ours, theirs = dict(zip(names[0], expected, strict=True)), dict(zip(names[1], found, strict=True))
    if ours.keys() == theirs.keys() and names[0] != names[1]:
        yield Difference(path, names[0], names[1])
    for name in {**ours, **theirs}:
        yield from _differences(ours.get(name, MISSING), theirs.get(name, MISSING), (*path, f"'{name}'"))


def _names(value: Any) -> list[str] | None:
    """The names of a list's items; None unless all have one, each another."""
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        return None
    names = [next((str(item[key]) for key in NAMES if key in item), None) for item in value]
    unique = [name for name in names if name is not None]
    return unique if len(set(unique)) == len(value) else None


def _text(value: Any) -> str:
    return "none" if value is MISSING else repr(value)
