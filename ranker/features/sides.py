"""When features are known, and which of them have the same rows."""

from enum import StrEnum
from typing import Final


class Side(StrEnum):
    """When a feature is known."""

    USER = "user"
    QUERY = "query"
    CONTEXT = "context"
    CANDIDATE = "candidate"
    PAIR = "pair"
    BIAS = "bias"


class Group(StrEnum):
    """Sides that have the same rows: one for a request, one a candidate, one a pair of both."""

    REQUEST = "request"
    CANDIDATE = "candidate"
    PAIR = "pair"


SIDES: Final = {
    Group.REQUEST: (Side.USER, Side.QUERY, Side.CONTEXT),
    Group.CANDIDATE: (Side.CANDIDATE,),
    Group.PAIR: (Side.PAIR,),
}
