"""Messages about invalid values of a request, in terms of JSON; pydantic's own are in terms of Python.

A table by type of error is pydantic's documented way to replace its messages; it has no setting for them:
https://docs.pydantic.dev/latest/errors/errors/#customize-error-messages.
"""

from collections.abc import Mapping
from typing import Any, Final

MESSAGES: Final[Mapping[str, str]] = {
    "extra_forbidden": "unknown field",
    "missing": "expected this field, found none",
    "model_attributes_type": "expected an object",
    "dict_type": "expected an object",
    "model_type": "expected an object",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "string_type": "expected text",
    "string_unicode": "expected text in UTF-8",
    "int_type": "expected an integer",
    "int_parsing": "expected an integer",
    "int_parsing_size": "expected an integer of ordinary size",
    "int_from_float": "expected an integer",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "enum": "expected {expected}",
    "literal_error": "expected {expected}",
    "too_short": "expected at least {min_length} item{s}, found {actual_length}",
    "too_long": "expected at most {max_length} item{s}, found {actual_length}",
    "string_too_short": "expected at least {min_length} character{s}, found {length}",
    "string_too_long": "expected at most {max_length} character{s}, found {length}",
    "greater_than": "expected more than {gt}, found {input:.40}",
    "greater_than_equal": "expected at least {ge}, found {input:.40}",
    "less_than": "expected less than {lt}, found {input:.40}",
    "less_than_equal": "expected at most {le}, found {input:.40}",
}
"""Messages by pydantic's type of error, with fields of its context."""


def validation_message(detail: Mapping[str, Any]) -> str:
    """Describe what was expected and, where it helps, what was found.

    Args:
        detail: One of the errors of a pydantic `ValidationError`.
    """
    if detail["type"] not in MESSAGES:
        return str(detail["msg"])
    context = detail.get("ctx", {})
    found = detail["input"]
    return MESSAGES[detail["type"]].format(
        **context,
        s="" if context.get("min_length", context.get("max_length")) == 1 else "s",
        input=str(found) if isinstance(found, int | float | str) else "",  # all that is compared with a bound
        length=len(found) if isinstance(found, str) else "",
    )
