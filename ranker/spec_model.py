"""What all parts of a spec share: keys that are checked by name, names, durations."""

import re
from collections import Counter
from typing import Annotated, Any, ClassVar, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    StringConstraints,
    model_validator,
)

from ranker.did_you_mean import did_you_mean

_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


class SpecModel(BaseModel):
    """A frozen part of the spec that refuses unknown keys.

    Attributes:
        renamed_keys: The present name of each key that was called otherwise in an earlier version.
        switched_keys: Keys that may be `off`, which YAML reads as false.
        text_keys: Keys whose numbers are only written, and may have any number of digits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    renamed_keys: ClassVar[dict[str, str]] = {}
    switched_keys: ClassVar[frozenset[str]] = frozenset()
    text_keys: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _name_the_known_keys(cls, given: Any) -> Any:
        unknown = [key for key in given if key not in cls.model_fields] if isinstance(given, dict) else []
        if unknown and unknown[0] in cls.renamed_keys:
            raise ValueError(f"'{unknown[0]}' is now called '{cls.renamed_keys[unknown[0]]}'")
        if unknown:
            raise ValueError(
                f"expected the keys {', '.join(cls.model_fields)}, found '{unknown[0]}'"
                f"{did_you_mean(str(unknown[0]), cls.model_fields)}"
            )
        for key, value in given.items() if isinstance(given, dict) else ():
            is_switched_off = value is False and key in cls.switched_keys
            if (
                isinstance(value, bool)
                and cls.model_fields[key].annotation is not bool
                and not is_switched_off
            ):
                raise ValueError(f"'{key}' expects no true or false, found {str(value).lower()}")
            if key not in cls.text_keys:
                _refuse_huge(key, value)
        return given


def _refuse_huge(key: str, value: Any) -> None:
    """Refuse whole numbers of a key that no computer counts to, also in a list."""
    for each in value if isinstance(value, list | tuple) else (value,):
        if isinstance(each, int) and abs(each) >= 2**63:
            raise ValueError(f"'{key}' expects numbers below 2^63, found one of {len(str(each))} digits")


def _seconds(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    found = _DURATION.fullmatch(given.strip())
    if found is None:
        raise ValueError(f"expected a duration such as 90s, 10m, 12h or 7d, found '{given:.40}'")
    return float(found[1]) * _UNITS_S[found[2]]


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]
Duration = Annotated[NonNegativeFloat, Field(le=100 * 365 * 86_400), BeforeValidator(_seconds)]
"""Seconds, a hundred years at most; written as a number of them, or as 90s, 10m, 12h or 7d."""


def refuse_doubles(names: list[str], what: str) -> None:
    """Check that each name is there once.

    Args:
        names: The names.
        what: What they name, for the message.

    Raises:
        ValueError: One is there twice.
    """
    doubles = [name for name, count in Counter(names).items() if count > 1]
    if doubles:
        raise ValueError(f"expected one each, found two {what} '{doubles[0]}'")
