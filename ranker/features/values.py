"""Feature values in Arrow columns and in JSON, brought to one form per kind of feature.

Ids and categories become strings (712, 712.0 and "712" are the same id), bags become lists of strings,
numbers become float64. Null and NaN mean missing.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ranker.errors import FeatureError
from ranker.features.kinds.column import ColumnFeature, Form

INTEGER_LIMIT: Final = 2.0**63
"""Whole floats below it are written as integers, others as Arrow writes floats."""

DECIMAL_DIGITS: Final = 76
"""The most that Arrow's decimals have."""

FeatureValue = str | int | float | bool | list[str | int] | None


def canonical(column: pa.Array | pa.ChunkedArray, feature: ColumnFeature) -> pa.Array:
    """Bring a column to the form that its feature is encoded from.

    Args:
        column: Any column of a log.
        feature: What the column holds.

    Returns:
        string for ids and categories, list<string> without null items for bags, float64 without NaN for
        numbers.

    Raises:
        FeatureError: The column's type does not fit the kind, or a number is infinite.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), _form(feature))
    if feature.form is Form.BAG:
        return _lists(column, feature)
    if feature.form is Form.NUMBER:
        return _numbers(column, feature)
    return _strings(column, feature)


def column_of(values: Sequence[FeatureValue], feature: ColumnFeature) -> pa.Array:
    """Make the canonical column out of JSON values, one a row.

    Raises:
        FeatureError: A value's type does not fit the kind; the error has the row.
    """
    column = _column_at_once(values, feature)
    if column is not None:
        return column
    rows = [_scalar(value, feature, row) for row, value in enumerate(values)]
    return pa.array(rows, _form(feature))


def _column_at_once(values: Sequence[FeatureValue], feature: ColumnFeature) -> pa.Array | None:
    """The column, if every value has the usual type; None if one needs a closer look."""
    usual: tuple[type, ...] = (str,)
    if feature.form is Form.NUMBER:
        usual = (float, int)
    elif feature.form is Form.BAG:
        usual = (list,)
    if not {type(value) for value in values} <= {*usual, type(None)}:
        return None
    try:
        column = pa.array(values, _form(feature))
    except (pa.ArrowException, UnicodeError, OverflowError):
        return None
    if feature.form is Form.NUMBER:
        finite = np.isfinite(column.drop_null().to_numpy()).all()
        return column if finite else None
    return column if feature.form is not Form.BAG or column.flatten().null_count == 0 else None


def _form(feature: ColumnFeature) -> pa.DataType:
    if feature.form is Form.BAG:
        return pa.list_(pa.string())
    return pa.float64() if feature.form is Form.NUMBER else pa.string()


def _strings(column: pa.Array, feature: ColumnFeature) -> pa.Array:
    if pa.types.is_floating(column.type):
        return _digits(_numbers(column, feature))
    if pa.types.is_decimal(column.type) and column.type.scale > 0:
        return _decimal_digits(column)
    if not _is_plain(column.type):
        raise _wrong_type(feature, f"a column of {column.type}", None)
    return column.cast(pa.string())


def _decimal_digits(decimals: pa.Array) -> pa.Array:
    """Decimals in the digits that floats have, and whole ones in all of theirs: 712.00 is the id 712."""
    whole = pc.trunc(decimals)
    integers = whole.cast(pa.decimal256(DECIMAL_DIGITS, 0)).cast(pa.string())
    return pc.if_else(pc.equal(whole, decimals), integers, _digits(decimals.cast(pa.float64())))


def _digits(numbers: pa.DoubleArray) -> pa.StringArray:
    """Floats in digits, each the same whatever its neighbours are: whole ones as integers have them."""
    whole = pc.and_(pc.equal(pc.trunc(numbers), numbers), pc.less(pc.abs(numbers), INTEGER_LIMIT))
    integers = pc.if_else(whole, numbers, None).cast(pa.int64()).cast(pa.string())
    return pc.coalesce(integers, numbers.cast(pa.string()))


def _is_plain(kind: pa.DataType) -> bool:
    """Whether values of a type are the same text in every column."""
    if pa.types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    return any(
        check(kind)
        for check in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_integer,
            pa.types.is_boolean,
        )
    ) or (pa.types.is_decimal(kind) and kind.scale == 0)


def _lists(column: pa.Array, feature: ColumnFeature) -> pa.Array:
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise _wrong_type(feature, f"a column of {kind}", None)
    if not _is_plain(kind.value_type) and not pa.types.is_null(kind.value_type):
        raise _wrong_type(feature, f"a column of {kind}", None)
    strings = column.cast(pa.list_(pa.string()))
    items = strings.flatten()
    if items.null_count == 0:
        return strings
    owner = pc.list_parent_indices(strings).filter(items.is_valid())
    sizes = np.bincount(owner.to_numpy(), minlength=len(strings))
    starts = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())
    return pa.ListArray.from_arrays(starts, items.drop_null(), mask=strings.is_null())


def _numbers(column: pa.Array, feature: ColumnFeature) -> pa.Array:
    if not any(
        check(column.type)
        for check in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    ):
        raise _wrong_type(feature, f"a column of {column.type}", None)
    numbers = column.cast(pa.float64(), safe=False)
    infinite = np.flatnonzero(np.isinf(numbers.to_numpy(zero_copy_only=False)))
    if len(infinite):
        raise _wrong_type(feature, f"{numbers[int(infinite[0])]}", int(infinite[0]))
    return pc.if_else(pc.is_nan(numbers), None, numbers)


def _scalar(value: Any, feature: ColumnFeature, row: int) -> Any:
    if value is None:
        return None
    if feature.form is Form.BAG:
        if not isinstance(value, list):
            raise _wrong_type(feature, repr(value), row)
        return [_text(item, feature, row) for item in value if item is not None]
    if feature.form is not Form.NUMBER:
        return _text(value, feature, row)
    if not isinstance(value, int | float):
        raise _wrong_type(feature, repr(value), row)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _wrong_type(feature, f"{value!r:.40}", row)
    return number


def _text(value: Any, feature: ColumnFeature, row: int) -> str:
    if isinstance(value, str) and (value.isascii() or value.encode(errors="ignore").decode() == value):
        return value  # text without half a surrogate pair, which JSON can spell but no log can hold
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (
        isinstance(value, float) and value.is_integer() and abs(value) < INTEGER_LIMIT
    ):
        return str(int(value))
    if isinstance(value, float) and math.isfinite(value):
        return str(pa.scalar(value).cast(pa.string()).as_py())  # Arrow's digits, as in a log
    raise _wrong_type(feature, repr(value), row)


def _wrong_type(feature: ColumnFeature, found: str, row: int | None) -> FeatureError:
    where = "" if row is None else f" in row {row}"
    remedy = "; cast the column when the log is written" if row is None else ""
    return FeatureError(
        f"{feature.source_column}: expected {feature.expected}, found {found:.80}{where}{remedy}",
        feature=feature.source_column,
        row=row,
    )
