"""What the feature state and the rows of ids know of an id that was deleted: nothing that can be found."""

import copy
from typing import Any

import numpy as np
import pytest

from ranker.features.encoder import Encoder
from ranker.features.forgetting import Beside
from ranker.features.id_table import IdTable
from ranker.features.key_loops import KNOWN, USED, find, use
from ranker.features.key_table import KeyTable
from ranker.features.sides import Group
from ranker.features.stored import video_records
from ranker.labels.matrix import label_matrix
from tests.serving.state_ranker import FIRST_MS, STATE_SPEC, log_of

LOG = log_of(400)
LATER_MS = FIRST_MS + 3_600_000
VIDEOS = [f"v{i}" for i in range(40)]


def seen() -> Encoder:
    encoder = Encoder(STATE_SPEC)
    encoder.encode_examples(LOG, observe=True, labels=label_matrix(LOG, STATE_SPEC.feedback))
    return encoder


def catalogue() -> Beside:
    layout = video_records(STATE_SPEC)
    rows = [
        {"video_id": f"v{i}", "topic": ["news", "music", "sport"][i % 3], "tags": [f"t{i % 5}", f"t{i % 7}"]}
        for i in range(40)
    ]
    return Beside(layout.of_rows(rows), layout)


def known(encoder: Encoder, user: str, video: str) -> list[Any]:
    """All that the state says of a viewer and a video with its tags."""
    number = int(video[1:])
    values = {"user_id": user, "video_id": video, "tags": [f"t{number % 5}", f"t{number % 7}"], "hour": 3}
    said: list[Any] = []
    for group in Group:
        records = encoder.records[group]
        times = np.full(1, LATER_MS, np.int64)
        found = encoder.feature_state.look_up(group, records.of_rows([values]), records, times)
        said += [found.numbers.tolist(), [history.values.tolist() for history in found.histories.values()]]
    return said


@pytest.mark.parametrize("after_advance", [True, False])
def test_a_deleted_viewer_is_known_no_better_than_one_who_never_was_there(after_advance: bool) -> None:
    encoder = seen()
    if after_advance:
        encoder.feature_state.advance(LATER_MS)
    assert any(known(encoder, "u1", v) != known(encoder, "nobody", v) for v in VIDEOS)
    others = [known(encoder, "u2", v) for v in VIDEOS]

    encoder.forget("user_id", "u1", catalogue())

    np.testing.assert_equal([known(encoder, "u2", v) for v in VIDEOS], others)
    encoder.feature_state.advance(LATER_MS)  # nor does feedback that was waiting bring the viewer back
    np.testing.assert_equal(
        [known(encoder, "u1", v) for v in VIDEOS], [known(encoder, "nobody", v) for v in VIDEOS]
    )


def test_a_deleted_video_is_known_no_better_than_a_new_one_and_leaves_histories() -> None:
    encoder = seen()
    encoder.feature_state.advance(LATER_MS)
    clicked = encoder.feature_state.state()["clicked/known"]
    key = encoder.records[Group.CANDIDATE].of_rows([{"video_id": "v3"}])[0, 0].view(np.int64)
    assert (clicked == key).any()

    encoder.forget("video_id", "v3", catalogue())

    np.testing.assert_equal(known(encoder, "nobody", "v3"), known(encoder, "nobody", "v43"))
    after = encoder.feature_state.state()["clicked/known"]
    assert not (after == key).any()
    for before_row, row in zip(clicked, after, strict=True):  # the other entries stay in their order
        entries, kept = before_row[1:].reshape(-1, 2), row[1:].reshape(-1, 2)
        written, length = int(before_row[0]), len(entries)
        order = [entry % length for entry in range(max(written - length, 0), written)]
        expected = [entries[spot].tolist() for spot in order if entries[spot, 0] != key]
        if len(expected) < len(order):
            assert kept[: row[0]].tolist() == expected
        else:
            assert row.tolist() == before_row.tolist()


def test_a_viewer_who_comes_back_is_learned_anew() -> None:
    encoder = seen()
    encoder.feature_state.advance(LATER_MS)
    encoder.forget("user_id", "u1", catalogue())
    again = log_of(200, first_ms=LATER_MS, seed=5)
    encoder.replay(again, label_matrix(again, STATE_SPEC.feedback))
    encoder.feature_state.advance(LATER_MS + 3_600_000)
    assert any(known(encoder, "u1", v) != known(encoder, "nobody", v) for v in VIDEOS)


def test_what_is_forgotten_is_forgotten_in_what_is_saved() -> None:
    encoder = seen()
    encoder.forget("user_id", "u1", catalogue())
    restored = Encoder(STATE_SPEC)
    restored.load(encoder.state())
    restored.load_arrays(copy.deepcopy(encoder.arrays()))
    restored.feature_state.advance(LATER_MS)
    np.testing.assert_equal(known(restored, "u1", "v1"), known(restored, "nobody", "v1"))


def test_a_table_without_a_key_keeps_the_others_and_forgets_the_least_recently_used_first() -> None:
    table = KeyTable(5, words=1)

    def held() -> list[int]:
        return [int(key) >> 33 for key in table.keys(table.by_recency())]

    def learn(number: int) -> None:
        table.reserve(1)
        row, _ = use(table.arrays, np.uint64(number << 33))
        table.arrays.rows[row, KNOWN] = number

    for number in range(1, 7):  # the last takes the row of the first, so that an order has been found
        learn(number)
    table.remove(np.array([2 << 33, 9 << 33, 0], np.uint64))

    assert held() == table.known(table.by_recency())[:, 0].tolist() == [3, 4, 5, 6]
    assert find(table.arrays, np.uint64(2 << 33)) == -1
    learn(7)  # there is a free row
    assert held() == [3, 4, 5, 6, 7]
    learn(8)
    assert held() == [4, 5, 6, 7, 8]
    assert table.arrays.counts[USED] == 5


def test_a_deleted_id_shares_its_row_until_it_was_seen_often_enough() -> None:
    table = IdTable(4, admission_threshold=2, expire_after_s=None)
    ids = np.array([[7], [7], [8], [8], [9]], np.uint64)
    table.observe(ids, np.arange(5))
    assert table.rows(np.array([7, 8, 9], np.uint64)).tolist() == [2, 3, 1]

    table.forget(np.array([7, 9, 5], np.uint64))

    assert table.rows(np.array([7, 8, 9], np.uint64)).tolist() == [1, 3, 1]
    table.observe(np.array([[9], [7]], np.uint64), np.array([6, 6]))
    assert table.rows(np.array([7, 9], np.uint64)).tolist() == [1, 1]
    table.observe(np.array([[7]], np.uint64), np.array([7]))
    assert table.rows(np.array([7], np.uint64)).tolist() == [2]  # the row that was its own


def test_an_encoder_without_rows_of_ids_has_none_to_forget() -> None:
    Encoder(STATE_SPEC).forget_row("user_id", "u1")


def test_a_log_that_never_had_the_id_leaves_the_state_as_it_is() -> None:
    encoder = seen()
    before = {name: array.copy() for name, array in encoder.feature_state.state().items()}
    encoder.forget("user_id", "stranger", catalogue())
    after = encoder.feature_state.state()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
