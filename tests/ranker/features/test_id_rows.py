"""Rows of ids as an encoder gives them: shared tables, lists, histories, and what is fresh."""

from typing import Any

import pyarrow as pa
import torch

from ranker.features.encoder import Encoder
from ranker.features.sides import Group
from ranker.spec import RankerSpec

OWN = {"capacity": 8, "admission_threshold": 2, "dim": 2}
FEATURES: list[dict[str, Any]] = [
    {"name": "topic", "side": "candidate", "kind": "category", "values": ["a"], "dim": 2},
    {"name": "query_video_id", "side": "query", "kind": "id", "shares": "video_id"},
    {"name": "video_id", "side": "candidate", "kind": "id", **OWN},
    {"name": "related", "side": "candidate", "kind": "ids", "shares": "video_id"},
    {"name": "author", "side": "candidate", "kind": "id", "capacity": 4, "dim": 3},
    {"name": "plain", "side": "candidate", "kind": "id", "buckets": 5, "dim": 2},
    {"name": "liked", "kind": "history", "of": "video_id"},
]
FIRST = 3
"""Of the videos' rows, behind those of the topics."""
SHARED, OWN_1, OWN_2 = FIRST + 1, FIRST + 2, FIRST + 3


def encoder() -> Encoder:
    return Encoder(
        RankerSpec.model_validate(
            {
                "name": "ids",
                "features": FEATURES,
                "tasks": [{"name": "click", "group": "engagement", "kind": "binary"}],
                "score": {"terms": [{"head": "click"}]},
            }
        )
    )


def batch(videos: list[Any], time_ms: int = 1000, **columns: list[Any]) -> pa.RecordBatch:
    rows = len(videos)
    empty = {name: pa.nulls(rows) for name in ("topic", "query_video_id", "related", "author", "plain")}
    return pa.RecordBatch.from_pydict(
        {
            "time_ms": pa.array([time_ms] * rows, pa.int64()),
            "user_id": ["u"] * rows,
            "video_id": videos,
            **empty,
            **columns,
        }
    )


def videos(encoder: Encoder, *wanted: Any) -> list[int]:
    inputs = encoder.encode_examples(batch(list(wanted))).groups[Group.CANDIDATE]
    found: list[int] = inputs.singles[2][:, 1].tolist()
    return found


def test_a_row_is_used_from_the_batch_after_the_one_that_gave_it() -> None:
    ids = encoder()
    encoded = ids.encode_examples(batch(["x", "x", "x"]), observe=True)

    assert encoded.groups[Group.CANDIDATE].singles[2][:, 1].tolist() == [SHARED] * 3
    assert videos(ids, "x", "y", None) == [OWN_1, SHARED, FIRST]


def test_nothing_is_counted_unasked() -> None:
    ids = encoder()
    ids.encode_examples(batch(["x", "x", "x"]))
    ids.encode_request({"user_id": "u", "query_video_id": "x"}, [{"video_id": "x"}, {"video_id": "x"}])

    assert videos(ids, "x") == [SHARED]


def test_sightings_in_all_columns_of_a_table_count_together() -> None:
    ids = encoder()
    ids.encode_examples(
        batch(["x", "y"], query_video_id=["y", None], related=[["z", "w"], ["z"]]), observe=True
    )

    assert videos(ids, "x", "y", "z", "w") == [SHARED, OWN_1, OWN_2, SHARED]
    request = ids.encode_request({"query_video_id": "y"}, [{"video_id": "y", "related": ["z", "x", "y"]}])
    assert request.groups[Group.REQUEST].singles[2].tolist() == [[OWN_1]]
    assert request.groups[Group.CANDIDATE].bags[0].rows.tolist() == [OWN_2, SHARED, OWN_1]


def test_a_history_uses_the_rows_of_its_videos_and_is_no_sighting_of_them() -> None:
    ids = encoder()
    labels = torch.zeros(2, 1).numpy()
    ids.encode_examples(batch(["x", "y"], time_ms=1000), observe=True, labels=labels)
    ids.encode_examples(batch(["y", "q"], time_ms=2000), observe=True, labels=labels)
    ages = ids.layout.first_row(ids.layout.by_name["liked"])

    (history,) = ids.encode_request({"user_id": "u"}, [{}], time_ms=3000).groups[Group.REQUEST].bags

    entries = [row for row in history.rows.tolist() if row < ages]
    assert sorted(entries) == [SHARED, OWN_1]  # x and y; what came last is not known yet
    assert videos(ids, "x", "y", "q") == [SHARED, OWN_1, SHARED]


def test_hashed_ids_beside_them_keep_their_buckets() -> None:
    ids = encoder()
    before = ids.encode_request({}, [{"plain": "x"}]).groups[Group.CANDIDATE].singles[2][:, 2]
    ids.encode_examples(batch(["x"] * 4, plain=["x"] * 4), observe=True)

    after = ids.encode_request({}, [{"plain": "x"}]).groups[Group.CANDIDATE].singles[2][:, 2]
    assert torch.equal(before, after)


def test_learning_gives_out_rows_to_new_ids() -> None:
    ids = encoder()

    def learn(records: pa.RecordBatch) -> dict[int, list[int]]:
        return {width: rows.tolist() for width, rows in ids.learn(ids.read_examples(records)).items()}

    assert learn(batch(["x", "x", "y"], author=["a", "b", "a"])) == {2: [OWN_1], 3: [2, 3]}
    assert learn(batch(["y", "y", "z"], author=["c", "d", "e"])) == {2: [OWN_2], 3: [4, 5, 3]}


def test_saved_arrays_give_the_same_rows_and_go_on_alike() -> None:
    ids, copy = encoder(), encoder()
    ids.encode_examples(batch(["x", "x", "y"], author=["a", "b", "a"]), observe=True)
    copy.load_arrays({name: array.copy() for name, array in ids.arrays().items()})

    assert videos(copy, "x", "y", "z") == videos(ids, "x", "y", "z") == [OWN_1, SHARED, SHARED]
    for one in (ids, copy):
        one.encode_examples(batch(["z", "y"]), observe=True)
    assert videos(copy, "x", "y", "z") == videos(ids, "x", "y", "z") == [OWN_1, OWN_2, SHARED]
    for name, array in ids.arrays().items():
        assert (copy.arrays()[name] == array).all(), name
