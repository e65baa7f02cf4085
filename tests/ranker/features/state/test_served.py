"""What the state knew, as bytes that rows carry."""

import numpy as np
import pyarrow as pa
import pytest

from ranker.errors import FeatureError
from ranker.events import SERVED_FEATURES
from ranker.features.encoder import Encoder
from ranker.features.sides import Group
from ranker.features.state.reading import Known
from ranker.labels.matrix import label_matrix
from ranker.spec_file import parse_spec
from tests.serving.state_ranker import FIRST_MS, STATE_SPEC, STATE_YAML, log_of

LOG, LATER = log_of(200), log_of(5, first_ms=FIRST_MS + 900_000, seed=1)
LATER = LATER.set_column(LATER.schema.get_field_index("user_id"), "user_id", pa.array(["u1"] * 5))
LATER = LATER.set_column(
    LATER.schema.get_field_index("time_ms"), "time_ms", pa.array([FIRST_MS + 900_000] * 5)
)


def seen() -> Encoder:
    encoder = Encoder(STATE_SPEC)
    encoder.encode_examples(LOG, observe=True, labels=label_matrix(LOG, STATE_SPEC.feedback))
    return encoder


def known_of(encoder: Encoder) -> dict[Group, Known]:
    """Of a request with five videos."""
    known = encoder.read_examples(LATER).known
    return {group: one.rows(slice(1)) if group is Group.REQUEST else one for group, one in known.items()}


def carried(encoder: Encoder, known: dict[Group, Known]) -> list[bytes]:
    codec = encoder.served_features
    begin, rows = codec.digest + codec.request(known), codec.rows(known, np.arange(5))
    size = codec.row_bytes
    return [begin + rows[start : start + size] for start in range(0, 5 * size, size)]


def same(one: Known, other: Known) -> bool:
    pairs = [(one.numbers, other.numbers)]
    for name, history in one.histories.items():
        theirs = other.histories[name]
        pairs += [(history.values, theirs.values), (history.ages_s, theirs.ages_s)]
    return all(left.tobytes() == right.tobytes() for left, right in pairs)


def test_rows_are_read_with_what_they_carry_whatever_the_state_knows() -> None:
    encoder, fresh = seen(), Encoder(STATE_SPEC)
    known = encoder.read_examples(LATER).known
    assert not all(same(one, fresh.read_examples(LATER).known[group]) for group, one in known.items())
    rows = LATER.append_column(SERVED_FEATURES, pa.array(carried(encoder, known_of(encoder)), pa.binary()))

    found = fresh.read_examples(rows).known

    assert all(same(one, found[group]) for group, one in known.items())
    assert (fresh.served_rows, fresh.served_otherwise) == (5, 5)


def test_what_is_carried_is_counted_where_it_is_not_what_the_state_knows() -> None:
    encoder = seen()
    data = carried(encoder, known_of(encoder))
    codec = encoder.served_features
    data[3] = data[3][: -codec.row_bytes] + b"\x01" * codec.row_bytes
    encoder.read_examples(LATER.append_column(SERVED_FEATURES, pa.array(data, pa.binary())))

    assert (encoder.served_rows, encoder.served_otherwise) == (5, 1)


def test_rows_that_carry_nothing_or_that_of_another_spec_are_read_with_what_the_state_knows() -> None:
    encoder = seen()
    other = Encoder(
        parse_spec(STATE_YAML.replace("half_lives: [1h, 1d]", "half_lives: [2h, 1d]"), where="here")
    )
    assert other.served_features.row_bytes == encoder.served_features.row_bytes
    assert other.served_features.digest != encoder.served_features.digest
    foreign = carried(other, known_of(other))
    ours = carried(encoder, known_of(encoder))
    data = [None, foreign[1], b"", ours[3][:-1], ours[4]]
    expected = encoder.read_examples(LATER).known

    found = encoder.read_examples(LATER.append_column(SERVED_FEATURES, pa.array(data, pa.binary()))).known

    assert all(same(one, expected[group]) for group, one in found.items())
    assert (encoder.served_rows, encoder.served_otherwise) == (1, 0)


def test_a_column_of_another_type_is_refused() -> None:
    with pytest.raises(FeatureError, match="'served_features': expected binary values, found string"):
        seen().read_examples(LATER.append_column(SERVED_FEATURES, pa.array(["x"] * 5)))
