"""Collecting the mistakes in a request at a bounded cost: a body can hold a hundred thousand."""

from collections.abc import Sequence
from typing import Final

from pydantic import ValidationError

from ranker.errors import InvalidRequestError, Mistake
from serving.http.json_pointer import json_pointer
from serving.http.validation_messages import validation_message

MAX_MISTAKES: Final = 50
"""Mistakes that are named; the others are counted."""
MAX_COUNTED: Final = 1_000
"""Once so many were found, nobody needs to know how many there are."""

Path = Sequence[str | int]


class Mistakes:
    """The mistakes that were found so far."""

    def __init__(self) -> None:
        self._named: list[Mistake] = []
        self._more = 0

    def add(self, path: Path, detail: str) -> None:
        """Add a mistake at the place that these keys and indices lead to."""
        if len(self._named) < MAX_MISTAKES:
            self._named.append(Mistake(json_pointer(path), detail))
        else:
            self._more += 1

    def add_all(self, path: Path, error: ValidationError) -> None:
        """Add the mistakes that pydantic found in the value at a place."""
        room = MAX_MISTAKES - len(self._named)
        details = error.errors(include_url=False)[:room] if room else []
        for detail in details:
            self.add((*path, *detail["loc"]), validation_message(dict(detail)))
        self._more += error.error_count() - len(details)

    @property
    def are_named(self) -> bool:
        """Whether one more would be named, and not only counted."""
        return len(self._named) < MAX_MISTAKES

    @property
    def are_many(self) -> bool:
        """Whether there are so many that the search may end."""
        return len(self._named) + self._more >= MAX_COUNTED

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._named)

    def error(self) -> InvalidRequestError:
        """The error that names them; there is at least one."""
        return InvalidRequestError(self._named, more=self._more)
