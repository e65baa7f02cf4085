from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from ranker.errors import FeatureError
from ranker.features.kinds.feature import Feature
from ranker.features.kinds.registry import AnyFeature
from ranker.features.values import canonical, column_of

ADAPTER: TypeAdapter[Feature] = TypeAdapter(AnyFeature)


def feature(kind: str) -> Feature:
    return ADAPTER.validate_python({"name": "f", "column": "column", "side": "candidate", "kind": kind})


ID, IDS, CATEGORY, NUMBER = (feature(kind) for kind in ("id", "ids", "category", "number"))


@pytest.mark.parametrize("one", [ID, CATEGORY])
@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([712, None, -3]), ["712", None, "-3"]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array(["712", None, "", "日本"]), ["712", None, "", "日本"]),
        (pa.array(["a"], pa.large_string()), ["a"]),
        (pa.array(["a", None], pa.string_view()), ["a", None]),
        (pa.array([Decimal(712), None], pa.decimal128(20, 0)), ["712", None]),
        (pa.array([Decimal("712.00"), None, Decimal("1.50")], pa.decimal128(20, 2)), ["712", None, "1.5"]),
        (pa.array([Decimal(100), Decimal("-0.05")], pa.decimal256(50, 3)), ["100", "-0.05"]),
        (
            pa.array([Decimal(0), Decimal("-9.75"), Decimal("9.75")], pa.decimal128(3, 2)),
            ["0", "-9.75", "9.75"],
        ),
        (pa.array([Decimal(0), Decimal("1E-8")], pa.decimal128(12, 10)), ["0", "1e-8"]),
        (pa.array([Decimal(2**70)], pa.decimal128(38, 5)), [str(2**70)]),
        (pa.array(["a", "b", None, "a"]).dictionary_encode(), ["a", "b", None, "a"]),
        (pa.array([712.0, np.nan, None, -0.0]), ["712", None, None, "0"]),
        (
            pa.array([712.0, 0.5, np.nan, -0.0, 1e16, 1e20, 1e-7]),
            ["712", "0.5", None, "0", "1" + "0" * 16, "1e+20", "1e-7"],
        ),
        (pa.array([True, False, None]), ["true", "false", None]),
        (pa.nulls(2), [None, None]),
        (pa.chunked_array([["a"], [None, "b"]]), ["a", None, "b"]),
        (pa.chunked_array([], pa.int64()), []),
    ],
)
def test_ids_and_categories_become_strings(one: Feature, column: pa.Array, expected: list[Any]) -> None:
    assert canonical(column, one).equals(pa.array(expected, pa.string()))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([["a", None, "b"], [], None]), [["a", "b"], [], None]),
        (pa.array([[712, None], [None], None, [3]]), [["712"], [], None, ["3"]]),
        (pa.array([["a"], None, []], pa.large_list(pa.large_string())), [["a"], None, []]),
        (pa.array([[None], []]), [[], []]),
        (pa.array([[1], [2, 3], None, [4]]).slice(1), [["2", "3"], None, ["4"]]),
        (pa.array([[None], ["b", None], None, ["c"]]).slice(1), [["b"], None, ["c"]]),
        (pa.nulls(2), [None, None]),
        (pa.array([[1, 2], None], pa.list_(pa.int64(), 2)), [["1", "2"], None]),
        (pa.array([["a", None]], pa.list_(pa.string_view())), [["a"]]),
        (
            pa.array([["a"], ["b", "a"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
            [["a"], ["b", "a"]],
        ),
        (pa.array([[Decimal(7)]], pa.list_(pa.decimal128(9, 0))), [["7"]]),
    ],
)
def test_bags_become_lists_of_strings(column: pa.Array, expected: list[Any]) -> None:
    assert canonical(column, IDS).equals(pa.array(expected, pa.list_(pa.string())))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, None]), [1.0, None]),
        (pa.array([0.5, np.nan, None], pa.float32()), [0.5, None, None]),
        (pa.array([True, False]), [1.0, 0.0]),
        (pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)), [1.5, None]),
        (pa.nulls(1), [None]),
    ],
)
def test_numbers_become_floats(column: pa.Array, expected: list[Any]) -> None:
    assert canonical(column, NUMBER).equals(pa.array(expected, pa.float64()))


@pytest.mark.parametrize(
    ("one", "column", "message"),
    [
        (ID, pa.array([b"a"]), r"an id \(a string or a whole number\), found a column of binary"),
        (ID, pa.array([["a"]]), "an id .*, found a column of list<item: string>"),
        (CATEGORY, pa.array([{"a": 1}]), "a string, a number or true/false, found a column of struct"),
        (IDS, pa.array([[712.0, np.nan]]), "a list of ids, found a column of list<item: double"),
        (IDS, pa.array(["a,b"]), "a list of ids, found a column of string"),
        (IDS, pa.array([[["a"]]]), "a list of ids, found a column of list<item: list"),
        (NUMBER, pa.array(["1"]), "a finite number, found a column of string"),
        (NUMBER, pa.array([[1.0]]), "a finite number, found a column of list"),
    ],
)
def test_a_column_of_the_wrong_type_is_named(one: Feature, column: pa.Array, message: str) -> None:
    with pytest.raises(FeatureError, match=f"^column: expected {message}") as error:
        canonical(column, one)

    assert (error.value.feature, error.value.row) == ("column", None)


@pytest.mark.parametrize("one", [ID, CATEGORY, NUMBER])
def test_an_infinite_number_in_a_column_is_named_with_its_row(one: Feature) -> None:
    with pytest.raises(FeatureError, match=r"^column: expected .*, found -inf in row 2$") as error:
        canonical(pa.array([1.0, np.nan, -np.inf]), one)

    assert (error.value.feature, error.value.row) == ("column", 2)


@pytest.mark.parametrize(
    ("one", "values", "expected"),
    [
        (ID, [712, "712", 712.0, None, 2**70], ["712", "712", "712", None, str(2**70)]),
        (CATEGORY, [True, 0.5, 1e-7, 1e20, -0.0, ""], ["true", "0.5", "1e-7", "1e+20", "0", ""]),
        (IDS, [["a", 3, None], [], None], [["a", "3"], [], None]),
        (NUMBER, [1, 0.5, True, None], [1.0, 0.5, 1.0, None]),
    ],
)
def test_json_values_become_the_same_forms(one: Feature, values: list[Any], expected: list[Any]) -> None:
    assert column_of(values, one).to_pylist() == expected


@pytest.mark.parametrize("one", [ID, IDS, CATEGORY, NUMBER])
def test_no_values_keep_their_form(one: Feature) -> None:
    assert column_of([], one).type == column_of([None], one).type == canonical(pa.nulls(1), one).type


@pytest.mark.parametrize(
    ("one", "value", "found"),
    [
        (ID, ["a"], r"\['a'\]"),
        (ID, float("nan"), "nan"),
        (CATEGORY, {"a": 1}, "{'a': 1}"),
        (CATEGORY, float("inf"), "inf"),
        (ID, "\ud800", r"'\\ud800'"),
        (IDS, "a,b", "'a,b'"),
        (IDS, [["a"]], r"\['a'\]"),
        (IDS, ["\udfff"], r"'\\udfff'"),
        (NUMBER, "1", "'1'"),
        (NUMBER, float("inf"), "inf"),
        (NUMBER, float("nan"), "nan"),
        (NUMBER, 10**400, "10000"),
    ],
)
def test_a_json_value_of_the_wrong_type_is_named_with_its_row(one: Feature, value: Any, found: str) -> None:
    with pytest.raises(FeatureError, match=f"^column: expected .*, found {found}.* in row 1$") as error:
        column_of([None, value], one)

    assert (error.value.feature, error.value.row) == ("column", 1)
