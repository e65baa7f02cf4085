"""Validating a body whose list is long, some items a step, so that others are served in between."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from serving.http.mistakes import Mistakes
from serving.http.turns import Steps

ITEMS_PER_STEP: Final = 5

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class LongList:
    """A body's list.

    Attributes:
        field: The body's field that holds it.
        item: Validates one item.
        stand_in: A valid item, in place of all while the other fields are validated.
        most: How many items there may be.
    """

    field: str
    item: TypeAdapter[Any]
    stand_in: Mapping[str, Any]
    most: int

    def validate(self, model: type[Body], document: Any) -> Steps[Body]:
        """Validate a parsed body, some items of its list a step.

        Args:
            model: What the body has to be.
            document: The parsed body.

        Raises:
            InvalidRequestError: It names the mistakes.
        """
        items = document.get(self.field) if isinstance(document, dict) else None
        mistakes, validated = Mistakes(), list[Any]()
        if isinstance(items, list) and items:
            document = {**document, self.field: [self.stand_in]}
        try:
            body = model.model_validate(document)
        except ValidationError as error:
            mistakes.add_all((), error)
        if isinstance(items, list) and len(items) > self.most:
            mistakes.add((self.field,), f"expected at most {self.most} items, found {len(items)}")
        elif isinstance(items, list):
            for index, item in enumerate(items):
                if mistakes.are_many:
                    break
                if index % ITEMS_PER_STEP == 0:
                    yield
                try:
                    validated.append(self.item.validate_python(item))
                except ValidationError as error:
                    mistakes.add_all((self.field, index), error)
        if mistakes:
            raise mistakes.error()
        return body.model_copy(update={self.field: validated})
