"""Ids of viewers and videos: one rule for logs, the store, requests and callers in Python.

An id is text of 1 to `MAX_BYTES` bytes of UTF-8, or a whole number, which is the same id as its digits.
Null, NaN and empty text are no id.
"""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ranker.errors import FeatureError
from ranker.features.hashing import MAX_BYTES
from ranker.features.kinds.id import IdFeature
from ranker.features.sides import Side
from ranker.features.values import DECIMAL_DIGITS, canonical

Column = Any
"""An Arrow array, chunked or not."""
ID_EXPECTED: Final = f"text of 1 to {MAX_BYTES:,} bytes, or a whole number"
"""What an id is, for messages."""
_MAX_ID_BITS: Final = 4 * MAX_BYTES
"""No integer with more bits has as few digits."""
_EXACT_FLOATS: Final = 2.0**53
"""Above it, neighbouring whole numbers are the same float."""


def checked_ids(column: Column, name: str) -> Column:
    """Check ids, and let what is no id be null.

    Args:
        column: Text, integers, floats or decimals.
        name: The column's name, for messages.

    Returns:
        The column with null where there is no id.

    Raises:
        FeatureError: An id is too long, is no UTF-8, is no whole number, or is a float above 2^53; the error
            has the row.
    """
    if pa.types.is_floating(column.type):
        return _checked_floats(column, name)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _checked_texts(column, name)
    if pa.types.is_decimal(column.type) and column.type.scale > 0:
        return _checked_decimals(column, name)
    if pa.types.is_boolean(column.type):
        raise FeatureError(f"{name}: expected an id ({ID_EXPECTED}), found a column of bool", feature=name)
    return column


def id_texts(column: Column, name: str) -> list[str]:
    """Ids as text, of rows that must have one.

    Args:
        column: Anything that holds ids.
        name: The column's name, for messages.

    Raises:
        FeatureError: A row has no id, or one that `checked_ids` refuses; the error has the row.
    """
    texts = canonical(checked_ids(column, name), IdFeature(kind="id", name=name, side=Side.USER))
    checked = checked_ids(texts, name)
    if checked.null_count:
        row = pc.index(checked.is_null(), True).as_py()
        found = "empty text" if column[row].as_py() == "" else "null"
        raise FeatureError(f"{name}: expected an id, found {found} in row {row}", feature=name, row=row)
    ids: list[str] = checked.to_pylist()
    return ids


def id_text(value: str | int) -> str:
    """An id in a request as text.

    Raises:
        ValueError: It is empty, longer than `MAX_BYTES`, or half a surrogate pair, which has no UTF-8.
    """
    if isinstance(value, int):
        if value.bit_length() > _MAX_ID_BITS:
            raise ValueError(f"expected at most {MAX_BYTES} digits")
        value = str(value)
    if not 1 <= len(value.encode()) <= MAX_BYTES:
        raise ValueError(f"expected 1 to {MAX_BYTES} bytes")
    return value


def _checked_floats(column: Column, name: str) -> Column:
    numbers = column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(False)
    wrong = (np.abs(numbers) > _EXACT_FLOATS) | (np.trunc(numbers) != numbers) & ~np.isnan(numbers)
    if wrong.any():
        row = int(wrong.argmax())
        raise _refusal(name, f"the float {numbers[row]}", row)
    return pc.if_else(pc.is_nan(column), None, column)


def _checked_decimals(column: Column, name: str) -> Column:
    try:
        return column.cast(pa.decimal256(DECIMAL_DIGITS, 0))
    except pa.ArrowInvalid as error:
        values = enumerate(column.to_pylist())
        row, value = next((row, v) for row, v in values if v is not None and v != v.to_integral_value())
        raise _refusal(name, f"{value}", row) from error


def _checked_texts(column: Column, name: str) -> Column:
    lengths = pc.binary_length(column)
    bounds = pc.min_max(lengths).as_py()
    if (bounds["max"] or 0) > MAX_BYTES:
        row = pc.index(pc.greater(lengths, MAX_BYTES), True).as_py()
        raise _refusal(name, f"{lengths[row]} bytes", row)
    binary = column.cast(pa.binary() if pa.types.is_string(column.type) else pa.large_binary())
    try:
        binary.cast(column.type)
    except pa.ArrowInvalid as error:
        row, value = next((row, v) for row, v in enumerate(binary.to_pylist()) if v and not _is_utf8(v))
        raise _refusal(name, f"{value!r:.80}", row) from error
    return pc.if_else(pc.equal(lengths, 0), None, column) if bounds["min"] == 0 else column


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _refusal(name: str, found: str, row: int) -> FeatureError:
    return FeatureError(
        f"{name}: expected an id ({ID_EXPECTED}), found {found} in row {row}", feature=name, row=row
    )
