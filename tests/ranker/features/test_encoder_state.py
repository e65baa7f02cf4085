"""What an encoder learns from the rows that it observes."""

import pyarrow as pa
import pytest
import torch

from ranker.features.encoder import Encoder, EncoderState
from ranker.features.kinds.category import CategoryFeature
from ranker.features.kinds.feature import Input
from ranker.features.sides import Group
from tests.ranker.features.small_encoder import alone, everything, rows
from tests.ranker.small_spec import SMALL_SPEC, random_records, request_of


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


def test_statistics_are_of_every_known_value() -> None:
    encoder = Encoder(SMALL_SPEC)
    records = random_records(50)
    encoder.encode_examples(records, observe=True)

    for group, statistics in encoder.state().statistics.items():
        columns = [records.column(f.source_column) for f in encoder.layout.inputs(group, Input.NUMBERS)]
        assert statistics.count == [len(column) - column.null_count for column in columns]


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
    copy.load_arrays(encoder.arrays())

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
