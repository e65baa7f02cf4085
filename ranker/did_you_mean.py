"""The end of a message about a name that there is not: a name that there is, if one is alike."""

import difflib
from collections.abc import Iterable
from typing import Final

CUTOFF: Final = 0.7
"""Similarity from which on a name is proposed: one letter in four is another."""
MAX_LENGTH: Final = 100
"""Longer names are not compared, which takes time by the square of their length."""


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """For example `; did you mean 'user_id'?`, or nothing.

    Args:
        found: The name that there is not.
        known: The names that there are.
    """
    if len(found) > MAX_LENGTH:
        return ""
    names = list(known)
    alike = difflib.get_close_matches(found, names, n=1, cutoff=CUTOFF) or [
        name for name in names if name.lower() == found.lower()
    ]
    return f"; did you mean '{alike[0]}'?" if alike else ""
