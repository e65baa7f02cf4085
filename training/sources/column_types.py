"""One type for a column that several writers have stored in different ways.

Types are brought together where every value keeps its meaning: integers and floats of several widths, text in
its several Arrow forms, decimals, dictionaries, lists, and a column without a single value, which pandas
writes with the type null. Anything else, such as text beside numbers, is for the log's owner to decide.
"""

from typing import Any, Final

import pyarrow as pa
from pyarrow import types

from ranker.events import QUERY_VIDEO_ID, USER_ID, VIDEO_ID

EVENT_IDS: Final = (USER_ID, VIDEO_ID, QUERY_VIDEO_ID)
_INTEGER_DIGITS: Final = 20
"""Of the largest 64-bit integer."""


def plain_type(kind: Any) -> Any:
    """A type without what differs from file to file and means nothing: dictionaries, and forms of text."""
    if types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if types.is_string_view(kind):
        return pa.string()
    if not _is_list(kind):
        return kind
    items = plain_type(kind.value_type)
    if items == kind.value_type:
        return kind  # with the name of its items
    if types.is_fixed_size_list(kind):
        return pa.list_(items, kind.list_size)
    return pa.large_list(items) if types.is_large_list(kind) else pa.list_(items)


def id_type(kind: Any) -> Any:
    """The type in which ids of viewers and videos are read, given a plain one; None if it cannot hold ids.

    Whole numbers that pandas has turned into floats, because some were missing, are whole numbers again.
    """
    if types.is_floating(kind):
        return pa.int64()
    if types.is_decimal(kind):
        return pa.string()
    return kind if types.is_integer(kind) or types.is_null(kind) or _is_text(kind) else None


def common_type(first: Any, second: Any) -> Any:
    """The type that holds the values of two plain types; None if there is no such type."""
    if first == second or types.is_null(second):
        return first
    if types.is_null(first):
        return second
    if _is_text(first) and _is_text(second):
        return pa.large_string()
    if _is_list(first) and _is_list(second):
        items = common_type(first.value_type, second.value_type)
        large = types.is_large_list(first) or types.is_large_list(second)
        return None if items is None else (pa.large_list(items) if large else pa.list_(items))
    if not (_is_number(first) and _is_number(second)):
        return None
    if types.is_floating(first) or types.is_floating(second):
        return pa.float64()
    if types.is_decimal(first) or types.is_decimal(second):
        return _common_decimal(first, second)
    if pa.uint64() not in (first, second):
        return pa.int64()
    unsigned = types.is_unsigned_integer(first) and types.is_unsigned_integer(second)
    return pa.uint64() if unsigned else pa.decimal128(_INTEGER_DIGITS, 0)


def common_id_type(first: Any, second: Any) -> Any:
    """The type that holds ids of two types of `id_type`: whole numbers beside text are text."""
    if types.is_integer(first) and types.is_integer(second):
        numbers = common_type(first, second)
        return numbers if types.is_integer(numbers) else pa.string()
    if types.is_null(first) or types.is_null(second) or (_is_text(first) and _is_text(second)):
        return common_type(first, second)
    return pa.large_string() if pa.large_string() in (first, second) else pa.string()


def _common_decimal(first: Any, second: Any) -> Any:
    scale = max(_scale(first), _scale(second))
    digits = max(_precision(first) - _scale(first), _precision(second) - _scale(second)) + scale
    return pa.decimal128(digits, scale) if digits <= 38 else None


def _precision(kind: Any) -> int:
    return kind.precision if types.is_decimal(kind) else _INTEGER_DIGITS


def _scale(kind: Any) -> int:
    return kind.scale if types.is_decimal(kind) else 0


def _is_text(kind: Any) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _is_number(kind: Any) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _is_list(kind: Any) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))
