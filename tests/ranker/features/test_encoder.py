from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from ranker.errors import FeatureError
from ranker.feature_spec import CategoryFeature, CrossFeature
from ranker.features.batch import Encoded
from ranker.features.encoder import Encoder, EncoderState
from ranker.features.hashing import MAX_BYTES
from ranker.features.layout import Group
from ranker.features.values import FeatureValue
from ranker.spec import RankerSpec
from tests.ranker.small_spec import SMALL_SPEC, random_records, request_of

ONE_OF_EACH: dict[str, dict[str, Any]] = {
    "id": {"kind": "id", "buckets": 8, "dim": 2},
    "ids": {"kind": "ids", "buckets": 8, "dim": 2, "most": 1000},
    "given": {"kind": "category", "values": ["a", "b"], "dim": 2},
    "learned": {"kind": "category", "capacity": 2, "dim": 2},
    "number": {"kind": "number"},
}


def alone(kind: str, side: str = "candidate") -> Encoder:
    """An encoder of one feature `x`."""
    spec = RankerSpec.model_validate(
        {
            "name": "alone",
            "features": [{"name": "x", "side": side, **ONE_OF_EACH[kind]}],
            "tasks": [{"name": "click", "group": "engagement", "kind": "binary"}],
            "score": {"terms": [{"head": "click"}]},
        }
    )
    return Encoder(spec)


def rows(encoder: Encoder, values: list[Any], *, observe: bool = False) -> list[int]:
    """The table rows of a column of single values."""
    encoded = encoder.encode_examples(pa.RecordBatch.from_pydict({"x": values}), observe=observe)
    found: list[int] = encoded.groups[Group.CANDIDATE].singles[2][:, 0].tolist()
    return found


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


def crossed(pairs: list[tuple[Any, Any]], buckets: int = 2**40) -> list[int]:
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


def test_given_values_are_not_learned() -> None:
    encoder = alone("given")
    rows(encoder, ["c", "d"], observe=True)

    assert rows(encoder, ["c", "d"]) == [1, 1]


def test_values_are_learned_in_the_order_they_appear_until_there_is_no_room() -> None:
    encoder = alone("learned")

    assert rows(encoder, ["q", None, "a", "q", "m"], observe=True) == [1, 0, 1, 1, 1]
    assert rows(encoder, ["a", "q", "m", None], observe=True) == [3, 2, 1, 0]
    assert encoder.state().vocabularies == {"x": ["q", "a"]}


def test_room_that_is_left_is_filled_later() -> None:
    encoder = alone("learned")
    rows(encoder, ["q", "q"], observe=True)
    rows(encoder, ["q", "z", "y"], observe=True)

    assert encoder.state().vocabularies == {"x": ["q", "z"]}


def test_nothing_is_learned_unasked() -> None:
    encoder = Encoder(SMALL_SPEC)
    before = encoder.state()

    encoder.encode_examples(random_records(10))
    encoder.encode_request(*request_of(random_records(10), 0))

    assert encoder.state() == before


def everything(encoded: Encoded) -> list[torch.Tensor]:
    parts = [encoded.bias] if encoded.bias is not None else []
    for inputs in encoded.groups.values():
        parts += [*inputs.singles.values(), inputs.numbers]
        parts += [part for bag in inputs.bags for part in (bag.rows, bag.offsets)]
    return parts


def test_a_row_is_encoded_with_what_earlier_batches_told() -> None:
    first, second = random_records(40, seed=1), random_records(40, seed=2)
    observing, still = Encoder(SMALL_SPEC), Encoder(SMALL_SPEC)
    for encoder in (observing, still):
        encoder.encode_examples(first, observe=True)

    torch.testing.assert_close(
        everything(observing.encode_examples(second, observe=True)),
        everything(still.encode_examples(second)),
        rtol=0,
        atol=0,
    )
    assert observing.state() != still.state()


def test_all_kinds_learn_from_each_side() -> None:
    encoder = Encoder(SMALL_SPEC)
    encoder.encode_examples(random_records(200), observe=True)
    state = encoder.state()

    learned = {f.name for f in SMALL_SPEC.features if isinstance(f, CategoryFeature)}
    assert {name for name, values in state.vocabularies.items() if values} == learned
    assert [len(state.vocabularies[name]) for name in ("country", "device")] == [3, 2]
    assert {group: min(s.count) > 0 for group, s in state.statistics.items()} == dict.fromkeys(Group, True)


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


def test_statistics_are_of_every_known_value() -> None:
    encoder = Encoder(SMALL_SPEC)
    records = random_records(50)
    encoder.encode_examples(records, observe=True)

    for group, statistics in encoder.state().statistics.items():
        columns = [records.column(f.source_column) for f in encoder.layout.numbers(group)]
        assert statistics.count == [len(column) - column.null_count for column in columns]


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


@pytest.mark.parametrize("extreme", [1.7e308, -1.7e308])
def test_an_absurd_number_leaves_the_state_finite(extreme: float) -> None:
    encoder = alone("number")
    for values in ([extreme, 1.0, 2.0], [extreme, -extreme]):
        encoder.encode_examples(pa.RecordBatch.from_pydict({"x": values}), observe=True)

    state = EncoderState.model_validate_json(encoder.state().model_dump_json())

    assert state == encoder.state()
    assert encoder.encode_request({}, [{"x": extreme}]).groups[Group.CANDIDATE].numbers.isfinite().all()


def test_a_state_survives_json_bit_for_bit() -> None:
    encoder, copy = Encoder(SMALL_SPEC), Encoder(SMALL_SPEC)
    for seed in range(5):
        encoder.encode_examples(random_records(30, seed=seed), observe=True)

    copy.load(EncoderState.model_validate_json(encoder.state().model_dump_json()))

    assert copy.state() == encoder.state()
    fresh = random_records(30, seed=9)
    for _ in range(2):
        torch.testing.assert_close(
            everything(copy.encode_examples(fresh, observe=True)),
            everything(encoder.encode_examples(fresh, observe=True)),
            rtol=0,
            atol=0,
        )
    assert copy.state() == encoder.state()


def test_a_saved_state_does_not_change_when_learning_goes_on() -> None:
    encoder = Encoder(SMALL_SPEC)
    encoder.encode_examples(random_records(1), observe=True)
    saved = encoder.state()
    frozen = saved.model_dump_json()
    encoder.load(saved)

    encoder.encode_examples(random_records(50, seed=1), observe=True)

    assert saved.model_dump_json() == frozen


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
