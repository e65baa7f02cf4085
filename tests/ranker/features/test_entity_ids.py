from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ranker.errors import FeatureError
from ranker.features.entity_ids import checked_ids, id_text, id_texts
from ranker.features.hashing import MAX_BYTES

NOT_UTF8 = pa.Array.from_buffers(
    pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xff\xfe")]
)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["712", "8"]),
        pa.array(["712", "8"], pa.large_string()),
        pa.array(["712", "8"], pa.string_view()),
        pa.array([712, 8], pa.uint64()),
        pa.array([712.0, 8.0]),
        pa.array([Decimal("712.00"), Decimal(8)], pa.decimal128(10, 2)),
        pa.array(["712", "8"]).dictionary_encode(),
        pa.chunked_array([pa.array(["712"]), pa.array(["8"])]),
    ],
)
def test_ids_of_every_type_are_the_same_text(column: Any) -> None:
    assert id_texts(column, "user_id") == ["712", "8"]


@pytest.mark.parametrize(
    ("column", "null_rows"),
    [
        (pa.array(["a", "", None]), [False, True, True]),
        (pa.array([1.0, float("nan"), None]), [False, True, True]),
        (pa.chunked_array([pa.array(["", "b"])]), [True, False]),
        (pa.array([1, None]), [False, True]),
    ],
)
def test_null_nan_and_empty_text_are_no_id(column: Any, null_rows: list[bool]) -> None:
    assert checked_ids(column, "user_id").is_null().to_pylist() == null_rows


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (pa.array(["a", "x" * (MAX_BYTES + 1)]), "1025 bytes"),
        (pa.array(["a", "é" * (MAX_BYTES // 2 + 1)]), "1026 bytes"),
        (pa.array([1.0, 1.5]), "the float 1.5"),
        (pa.array([1.0, float("inf")]), "the float inf"),
        (pa.array([1.0, 2.0**53 + 2]), "the float 9007199254740994.0"),
        (pa.array([Decimal("1.0"), Decimal("1.5")]), r"1\.5"),
        (NOT_UTF8, r"b'\\xff\\xfe'"),
    ],
)
def test_what_no_request_can_spell_is_refused_with_its_row(column: Any, found: str) -> None:
    with pytest.raises(
        FeatureError, match=rf"user_id: expected an id \(text of 1 to 1,024 bytes.*{found}"
    ) as caught:
        checked_ids(column, "user_id")
    assert caught.value.row == 1


def test_true_is_no_id() -> None:
    with pytest.raises(FeatureError, match="found a column of bool"):
        id_texts(pa.array([True]), "user_id")


@pytest.mark.parametrize(("value", "found"), [(None, "null"), ("", "empty text")])
def test_a_record_needs_an_id(value: str | None, found: str) -> None:
    with pytest.raises(FeatureError, match=f"video_id: expected an id, found {found} in row 1"):
        id_texts(pa.array(["a", value]), "video_id")


@pytest.mark.parametrize("value", ["", "x" * 1025, "é" * 513, "\ud800", 10**1024, -(10**1023)])
def test_a_request_cannot_spell_what_a_log_refuses(value: str | int) -> None:
    with pytest.raises(ValueError, match=r"expected|surrogates"):
        id_text(value)


@pytest.mark.parametrize("value", ["x" * 1024, "é" * 512, "a\0", 0, -7, 10**1023])
def test_ids_up_to_the_limit_are_text(value: str | int) -> None:
    assert id_text(value) == str(value)
