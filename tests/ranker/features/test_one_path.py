"""A training batch and a request go one path: the same values become the same tensors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from hypothesis import given
from hypothesis import strategies as st

from ranker.events import TIME_MS
from ranker.features.batch import GroupInputs
from ranker.features.encoder import Encoder
from ranker.features.kinds.feature import Feature
from ranker.features.kinds.ids import IdsFeature
from ranker.features.kinds.number import NumberFeature
from ranker.features.sides import Group, Side
from ranker.features.values import FeatureValue
from tests.ranker.small_spec import SMALL_SPEC, random_records, request_of, shown_to

Column = tuple[pa.Array, list[FeatureValue]]
"""A log's column, and the same values as a request has them."""

REQUEST_FEATURES = SMALL_SPEC.side(Side.USER, Side.QUERY, Side.CONTEXT)
CANDIDATE_FEATURES = SMALL_SPEC.side(Side.CANDIDATE, Side.PAIR)
whole = st.integers(-(2**53) + 1, 2**53 - 1)


def texts(values: list[Any]) -> list[str | None]:
    return [None if value is None else str(value) for value in values]


def nans(values: list[Any]) -> pa.Array:
    return pa.array([np.nan if value is None else float(value) for value in values], pa.float64())


LOG_FORMS: list[Callable[[list[Any]], pa.Array]] = [
    lambda values: pa.array(values, pa.int64()),
    lambda values: pa.array(values, pa.float64()),
    nans,
    lambda values: pa.array(texts(values), pa.string()),
    lambda values: pa.array(texts(values), pa.large_string()),
    lambda values: pa.array(texts(values), pa.string()).dictionary_encode(),
    lambda values: pa.array([None, *texts(values)], pa.string()).slice(1),
]


@st.composite
def whole_numbers(draw: st.DrawFn, rows: int) -> Column:
    """712 in the log as an integer, a float or text; in the request likewise, value by value."""
    values = draw(st.lists(st.none() | whole | st.integers(0, 9), min_size=rows, max_size=rows))
    forms = draw(st.lists(st.sampled_from([int, float, str]), min_size=rows, max_size=rows))
    request = [None if v is None else form(v) for v, form in zip(values, forms, strict=True)]
    return draw(st.sampled_from(LOG_FORMS))(values), request


@st.composite
def plain_values(draw: st.DrawFn, rows: int) -> Column:
    """Text, floats and booleans that a log and a request write alike."""
    kinds: list[tuple[st.SearchStrategy[Any], pa.DataType]] = [
        (st.text(max_size=12) | st.sampled_from(["news", "music", "is", "no"]), pa.string()),
        (st.floats(allow_nan=False, allow_infinity=False), pa.float64()),
        (st.booleans(), pa.bool_()),
    ]
    elements, kind = draw(st.sampled_from(kinds))
    values = draw(st.lists(st.none() | elements, min_size=rows, max_size=rows))
    return pa.array(values, kind), values


@st.composite
def numbers(draw: st.DrawFn, rows: int) -> Column:
    """Numbers as integers, floats or booleans; missing as null or NaN."""
    kinds: list[tuple[st.SearchStrategy[Any], Callable[[list[Any]], pa.Array]]] = [
        (st.integers(-(2**63), 2**63 - 1), lambda values: pa.array(values, pa.int64())),
        (st.floats(allow_nan=False, allow_infinity=False), lambda values: pa.array(values, pa.float64())),
        (st.floats(allow_nan=False, allow_infinity=False), nans),
        (
            st.floats(width=32, allow_nan=False, allow_infinity=False),
            lambda values: pa.array(values, pa.float32()),
        ),
        (st.booleans(), lambda values: pa.array(values, pa.bool_())),
    ]
    elements, form = draw(st.sampled_from(kinds))
    values = draw(st.lists(st.none() | elements, min_size=rows, max_size=rows))
    return form(values), values


@st.composite
def bags(draw: st.DrawFn, rows: int) -> Column:
    """Bags of text or integers, empty ones, missing ones and ones with gaps."""
    kinds: list[tuple[st.SearchStrategy[Any], pa.DataType]] = [
        (st.text(max_size=6), pa.list_(pa.string())),
        (st.text(max_size=6), pa.large_list(pa.large_string())),
        (whole, pa.list_(pa.int64())),
    ]
    elements, kind = draw(st.sampled_from(kinds))
    bag = st.none() | st.lists(st.none() | elements, max_size=4)
    values = draw(st.lists(bag, min_size=rows, max_size=rows))
    as_text = draw(st.booleans())
    request: list[Any] = [None if v is None else texts(v) if as_text else v for v in values]
    return pa.array(values, kind), request


def column(feature: Feature, rows: int) -> st.SearchStrategy[Column]:
    if isinstance(feature, IdsFeature):
        return bags(rows)
    return numbers(rows) if isinstance(feature, NumberFeature) else whole_numbers(rows) | plain_values(rows)


def same(left: GroupInputs, right: GroupInputs) -> None:
    assert left.count == right.count
    assert left.singles.keys() == right.singles.keys()
    for width in left.singles:
        torch.testing.assert_close(left.singles[width], right.singles[width], rtol=0, atol=0)
    assert [bag.width for bag in left.bags] == [bag.width for bag in right.bags]
    for one, other in zip(left.bags, right.bags, strict=True):
        torch.testing.assert_close(one.rows, other.rows, rtol=0, atol=0)
        torch.testing.assert_close(one.offsets, other.offsets, rtol=0, atol=0)
    torch.testing.assert_close(left.numbers, right.numbers, rtol=0, atol=0)


def repeated(inputs: GroupInputs, times: int) -> GroupInputs:
    """The inputs of a group with one row, as if a log had that row several times."""
    starts = torch.arange(times)
    return GroupInputs(
        times,
        {width: rows.repeat(times, 1) for width, rows in inputs.singles.items()},
        tuple(type(b)(b.rows.repeat(times), starts * len(b.rows), b.width) for b in inputs.bags),
        inputs.numbers.repeat(times, 1),
    )


@given(st.data(), st.integers(1, 5))
def test_a_log_and_a_request_are_encoded_alike(data: st.DataObject, rows: int) -> None:
    columns: dict[str, pa.Array] = {}
    request: dict[str, FeatureValue] = {}
    candidates: list[dict[str, FeatureValue]] = [{} for _ in range(rows)]
    for feature in REQUEST_FEATURES:
        one, (value,) = data.draw(column(feature, 1), feature.name)
        columns[feature.source_column] = pa.concat_arrays([one] * rows)
        if value is not None or data.draw(st.booleans()):
            request[feature.source_column] = value
    for feature in CANDIDATE_FEATURES:
        columns[feature.source_column], values = data.draw(column(feature, rows), feature.name)
        for candidate, value in zip(candidates, values, strict=True):
            candidate[feature.source_column] = value
    for feature in SMALL_SPEC.side(Side.BIAS):
        columns[feature.source_column] = pa.nulls(rows)
    columns[TIME_MS] = pa.array([2_000_000_000_000] * rows)
    batch = pa.RecordBatch.from_pydict(columns)
    encoder = Encoder(SMALL_SPEC)
    encoder.encode_examples(random_records(20), observe=True)
    encoder.encode_examples(batch, observe=True)

    from_log = encoder.encode_examples(batch)
    from_request = encoder.encode_request(request, candidates)

    same(from_log.groups[Group.CANDIDATE], from_request.groups[Group.CANDIDATE])
    same(from_log.groups[Group.PAIR], from_request.groups[Group.PAIR])
    same(from_log.groups[Group.REQUEST], repeated(from_request.groups[Group.REQUEST], rows))


def test_what_is_in_a_log_can_be_asked_for() -> None:
    encoder = Encoder(SMALL_SPEC)
    records = random_records(30, nulls=0.4)
    encoder.encode_examples(records, observe=True)

    from_log = encoder.encode_examples(shown_to(records, 3))
    from_request = encoder.encode_request(*request_of(records, 3))

    same(from_log.groups[Group.CANDIDATE], from_request.groups[Group.CANDIDATE])
    same(from_log.groups[Group.PAIR], from_request.groups[Group.PAIR])
    same(from_log.groups[Group.REQUEST], repeated(from_request.groups[Group.REQUEST], 30))
    assert from_request.bias is None
