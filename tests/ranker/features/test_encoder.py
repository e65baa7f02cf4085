from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from ranker.errors import FeatureError
from ranker.features.encoder import Encoder
from ranker.features.hashing import MAX_BYTES
from ranker.features.kinds.cross import CrossFeature
from ranker.features.sides import Group
from ranker.features.values import FeatureValue
from tests.ranker.features.small_encoder import alone, everything, rows
from tests.ranker.small_spec import SMALL_SPEC, random_records


def bag_rows(encoder: Encoder, values: list[Any]) -> list[list[int]]:
    encoded = encoder.encode_examples(
        pa.RecordBatch.from_pydict({"x": pa.array(values, pa.list_(pa.string()))})
    )
    (bag,) = encoded.groups[Group.CANDIDATE].bags
    return [part.tolist() for part in torch.tensor_split(bag.rows, bag.offsets[1:])]


def test_missing_has_a_row_that_no_id_has() -> None:
    encoder = alone("id")

    assert rows(encoder, [None]) == [0]
    assert set(rows(encoder, [str(i) for i in range(1000)] + [""])) == set(range(1, 9))


def test_a_missing_bag_has_a_row_that_no_id_has_and_an_empty_bag_none() -> None:
    encoder = alone("ids")

    assert bag_rows(encoder, [None, [], [None], ["a", None, "a"]]) == [[0], [], [], [4, 4]]
    assert set(bag_rows(encoder, [[str(i) for i in range(1000)]])[0]) == set(range(1, 9))


def test_an_id_has_the_same_row_alone_and_in_a_bag() -> None:
    values = [str(i) for i in range(100)]

    assert bag_rows(alone("ids"), [values]) == [rows(alone("id"), values)]


def crossed(pairs: list[tuple[Any, Any]], buckets: int = 2**31 - 1) -> list[int]:
    """Rows of a cross of two ids, for each pair of values."""
    cross = CrossFeature(kind="cross", name="both", of=("user_id", "video_id"), buckets=buckets, dim=2)
    ids = tuple(f for f in SMALL_SPEC.features if f.name in cross.of)
    encoder = Encoder(SMALL_SPEC.model_copy(update={"features": (*ids, cross)}))
    users, videos = zip(*pairs, strict=True)
    encoded = encoder.encode_examples(
        pa.RecordBatch.from_arrays(
            [pa.array(users, pa.string()), pa.array(videos, pa.string())], ["user_id", "video_id"]
        )
    )
    found: list[int] = encoded.groups[Group.PAIR].singles[2][:, 0].tolist()
    return found


def test_a_cross_tells_every_combination_apart() -> None:
    values = [None, "", "a", "b", "ab", "\x00", "a\x1f", "\x1fa"]
    pairs = [(user, video) for user in values for video in values]

    rows = crossed(pairs)

    assert len(set(rows)) == len(pairs)
    assert rows == crossed(pairs)


def test_only_a_cross_without_any_part_is_missing() -> None:
    rows = crossed([(None, None), (None, "a"), ("a", None)], buckets=4)

    assert rows[0] == 0
    assert min(rows[1:]) > 0


def test_a_part_of_a_cross_that_is_too_long_is_named_with_its_column() -> None:
    with pytest.raises(FeatureError, match=r"^country: .* in row 0$") as error:
        Encoder(SMALL_SPEC).encode_request({"country": "x" * (MAX_BYTES + 1)}, [{}])

    assert error.value.feature == "country"


def test_a_value_that_was_not_given_is_other() -> None:
    assert rows(alone("given"), ["b", "a", "c", None, "c"]) == [3, 2, 1, 0, 1]


def test_numbers_are_transformed_then_standardised_and_missing_ones_marked() -> None:
    encoder = Encoder(SMALL_SPEC)
    records = random_records(300)
    encoder.encode_examples(records, observe=True)
    duration = np.array(records.column("duration_s").to_pylist(), float)  # None becomes NaN
    logs = np.log1p(duration)

    numbers = encoder.encode_examples(records).groups[Group.CANDIDATE].numbers.numpy()

    expected = np.nan_to_num((logs - np.nanmean(logs)) / np.nanstd(logs))
    np.testing.assert_allclose(numbers[:, 0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(numbers[:, 1], np.isnan(duration))


def test_log1p_keeps_the_sign_and_the_order() -> None:
    spec = SMALL_SPEC.model_copy(
        update={
            "features": tuple(
                f.model_copy(update={"transform": "log1p"}) if f.name == "affinity" else f
                for f in SMALL_SPEC.features
            )
        }
    )
    encoder = Encoder(spec)
    encoder.encode_examples(random_records(50), observe=True)
    values = [-100.0, -0.5, 0.0, 0.5, 100.0]

    numbers = encoder.encode_request({}, [{"affinity": v} for v in values]).groups[Group.PAIR].numbers[:, 0]

    assert (numbers.diff() > 0).all()


def test_bias_features_are_categories_in_the_order_of_the_spec() -> None:
    encoder = Encoder(SMALL_SPEC)
    records = random_records(4).set_column(15, "position", pa.array([3, 1, None, 9]))
    records = records.set_column(16, "device", pa.array(["tv", None, "web", "tv"]))
    encoder.encode_examples(records, observe=True)

    bias = encoder.encode_examples(records).bias

    assert bias is not None
    assert bias.tolist() == [[4, 2], [2, 0], [0, 3], [1, 2]]


@pytest.mark.parametrize(
    ("column", "values"), [("video_id", [b"a", b"b"]), ("tags", ["a", "b"]), ("duration_s", ["1", "2"])]
)
def test_a_column_of_the_wrong_type_is_named(column: str, values: list[Any]) -> None:
    records = random_records(2)
    records = records.set_column(records.schema.get_field_index(column), column, pa.array(values))

    with pytest.raises(FeatureError, match=f"^{column}: expected ") as error:
        Encoder(SMALL_SPEC).encode_examples(records)

    assert error.value.feature == column


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("video_id", ["a"]),
        ("tags", "a"),
        ("tags", ["a", "b", "x" * (MAX_BYTES + 1)]),
        ("video_id", "x" * (MAX_BYTES + 1)),
        ("duration_s", "long"),
        ("affinity", float("inf")),
        ("last_author_id", {}),
    ],
)
def test_a_candidates_value_of_the_wrong_type_is_named_with_its_row(column: str, value: Any) -> None:
    candidates: list[dict[str, FeatureValue]] = [{"tags": ["a"]}, {}, {column: value}]

    with pytest.raises(FeatureError, match=f"^{column}: expected .* in row 2") as error:
        Encoder(SMALL_SPEC).encode_request({}, candidates)

    assert (error.value.feature, error.value.row) == (column, 2)


def test_an_id_that_is_too_long_is_named_with_its_row_of_the_log() -> None:
    column = pa.array([["a", "b"], None, ["x" * (MAX_BYTES + 1)]])
    records = random_records(3)
    records = records.set_column(records.schema.get_field_index("tags"), "tags", column)

    with pytest.raises(FeatureError, match=r"^tags: .* in row 2$") as error:
        Encoder(SMALL_SPEC).encode_examples(records)

    assert error.value.row == 2


def test_no_rows_are_encoded_to_no_rows() -> None:
    encoded = Encoder(SMALL_SPEC).encode_examples(random_records(0), observe=True)

    assert {inputs.count for inputs in encoded.groups.values()} == {0}
    assert all(len(part) == 0 for part in everything(encoded))
