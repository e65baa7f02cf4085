import numpy as np
import pytest

from load_tests.judging.log import Log
from load_tests.judging.tree_inputs import Matrix, TreeInputs, ranks
from ranker.features.encoder import Encoder, EncoderState
from ranker.features.record import MISSING_KEY
from ranker.features.sides import Group
from ranker.features.standardise import Statistics
from ranker.labels.matrix import label_matrix
from tests.load_tests.judging.judged_log import DAYS, ROWS_A_DAY, SPEC, small_log

WIDE = 1e6
"""A standard deviation that makes no number too large to be kept."""
LOGGED = ("duration_s", "user_age")
"""Numbers whose logarithm the network reads."""


def plain_encoder() -> Encoder:
    """An encoder whose standardising is to divide by WIDE."""
    encoder = Encoder(SPEC)
    statistics = {}
    for group in Group:
        columns = len(encoder.layout.numbers(group))
        statistics[group] = Statistics(
            count=[2.0] * columns, mean=[0.0] * columns, squares=[2 * WIDE**2] * columns
        )
    encoder.load(EncoderState(vocabularies=encoder.state().vocabularies, statistics=statistics))
    return encoder


def encoded_numbers(encoder: Encoder, rows: object, labels: object = None) -> dict[Group, np.ndarray]:
    encoded = encoder.encode_examples(rows, labels=labels)
    return {
        group: encoded.groups[group].numbers[:, : len(encoder.layout.numbers(group))].numpy() * WIDE
        for group in Group
    }


@pytest.fixture(scope="module")
def log() -> Log:
    return small_log()


@pytest.fixture(scope="module")
def matrices(log: Log) -> tuple[Matrix, Matrix, Matrix]:
    return TreeInputs(SPEC).read(log, DAYS[2])


def assert_same(matrix: Matrix, numbers: dict[Group, np.ndarray]) -> None:
    layout = Encoder(SPEC).layout
    inputs = {
        group: [
            name
            for feature in layout.features(group)
            for name in matrix.numbers
            if name.split("/")[0] == feature.name and feature.kind in ("number", "rate", "age")
        ]
        for group in Group
    }
    assert sum(map(len, inputs.values())) == 13
    for group, names in inputs.items():
        own = sorted(names, key=lambda name: name.split("/")[0] in {f.name for f in SPEC.state_features})
        for column, name in zip(numbers[group].T, own, strict=True):
            given = matrix.numbers[name]
            expected = np.log1p(given) if name in LOGGED else given
            np.testing.assert_allclose(np.nan_to_num(expected), column, rtol=1e-5, atol=1e-5, err_msg=name)
            assert name == "age" or len(np.unique(given)) > 20


def test_trees_learn_from_the_numbers_that_the_encoder_reads(
    log: Log, matrices: tuple[Matrix, Matrix, Matrix]
) -> None:
    learned = log.rows(None, DAYS[2].since_ms)

    assert_same(matrices[0], encoded_numbers(plain_encoder(), learned, label_matrix(learned, SPEC.feedback)))


def test_trees_predict_from_the_numbers_that_the_encoder_reads_frozen_and_live(
    log: Log, matrices: tuple[Matrix, Matrix, Matrix]
) -> None:
    learned, judged = log.rows(None, DAYS[2].since_ms), log.rows(DAYS[2].since_ms)
    encoder = plain_encoder()
    encoder.replay(learned, label_matrix(learned, SPEC.feedback))

    _, frozen, live = matrices
    assert_same(frozen, encoded_numbers(encoder, judged))
    assert_same(live, encoded_numbers(encoder, judged, label_matrix(judged, SPEC.feedback)))
    assert not np.array_equal(
        frozen.numbers["user_rates/click/3600s"], live.numbers["user_rates/click/3600s"]
    )


def test_of_a_history_trees_know_how_much_it_holds_and_how_old_it_is(
    log: Log, matrices: tuple[Matrix, Matrix, Matrix]
) -> None:
    records = log.rows(None, DAYS[2].since_ms).select(["user_id", "click", "time_ms"]).to_pylist()
    row = len(records) - 1
    mine = [
        (records[row]["time_ms"] - earlier["time_ms"]) / 1000
        for earlier in records[:row]
        if earlier["user_id"] == records[row]["user_id"] and earlier["click"]
    ]

    assert len(mine) > 3  # of which the last three are kept
    assert matrices[0].numbers["clicked/count"][row] == 3
    assert matrices[0].numbers["clicked/age"][row] == pytest.approx(min(mine))
    assert matrices[0].numbers["clicked/count"][0] == 0
    assert np.isnan(matrices[0].numbers["clicked/age"][0])


def test_keys_are_apart_by_what_they_are_and_the_position_is_not_known(
    matrices: tuple[Matrix, Matrix, Matrix],
) -> None:
    inputs = TreeInputs(SPEC)

    assert inputs.ids == {"user_id", "video_id", "user_country"}
    assert matrices[0].keys.keys() - inputs.ids == {"country", "tags/0", "tags/1"}
    assert len(matrices[0].keys["user_id"]) == 2 * ROWS_A_DAY
    assert "position" not in matrices[0].numbers.keys() | matrices[0].keys.keys()


def test_values_are_numbered_by_how_often_they_were_learned_from() -> None:
    learned = np.array([7, 5, 5, 9, 5, 9, MISSING_KEY], np.uint64)
    keys = np.array([5, 9, 7, 4, 10, MISSING_KEY], np.uint64)

    np.testing.assert_array_equal(ranks(learned, keys), [0, 1, 2, np.nan, np.nan, np.nan])
