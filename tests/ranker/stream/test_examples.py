import math

import pytest
import redis

from ranker.labels.matrix import label_matrix
from ranker.stream.event_log import Entry, EntryId, Kind
from ranker.stream.examples import ExampleReader
from ranker.stream.joiner import Joiner
from ranker.stream.layouts import Layouts
from ranker.stream.texts import Texts
from tests.ranker.small_spec import SMALL_SPEC
from tests.ranker.stream.made_events import event, given, impression, keep

REQUEST = {
    "user_id": "u1",
    "country": "se",
    "hour": 3,
    "query_video_id": "9",
    "query_tags": ["x"],
    "age": 41.5,
}
VIDEOS = [
    {"video_id": "17", "tags": ["a", "b"], "topic": "news", "duration_s": 12.5, "affinity": 0.5},
    {"video_id": "18", "last_author_id": "z"},
]


@pytest.fixture
def reader(client: redis.Redis) -> ExampleReader:
    keep(client, [REQUEST, *VIDEOS])
    return ExampleReader(SMALL_SPEC, Layouts(client), Texts(client, SMALL_SPEC.hash_seed))


def joined(*, reported: bool = False) -> list[object]:
    joiner = Joiner(SMALL_SPEC.feedback, wait_s=5)
    first = impression("r1", VIDEOS, REQUEST, reported=reported)
    entries = [
        Entry(EntryId(1000, 0), Kind.IMPRESSION, first.to_bytes()),
        Entry(EntryId(1001, 0), Kind.IMPRESSION, impression("r2", VIDEOS[:1]).to_bytes()),
        given(1002, event("1", "r1", "18"), event("2", "r1", "18", "watch_time", 3.5)),
        given(1003, event("3", "r2", "17", "rating", 4), event("4", "r1", "18", "shown", 7)),
    ]
    return [found for entry in entries for found in joiner.take(entry)] + joiner.advance(99_000)


def test_examples_have_the_columns_that_a_log_of_the_spec_has(reader: ExampleReader) -> None:
    batch = reader.read(joined())

    SMALL_SPEC.check_schema(batch.schema, where="the events")
    rows = batch.to_pylist()
    assert [row["time_ms"] for row in rows] == [1000, 1000, 1001]
    assert [row["video_id"] for row in rows] == ["17", "18", "17"]
    assert [row["user_id"] for row in rows] == ["u1", "u1", None]
    assert [row["position"] for row in rows] == [1, 7, 1]
    assert (
        rows[0] | {"country": "se", "hour": "3", "age": 41.5, "query_tags": ["x"], "affinity": 0.5} == rows[0]
    )
    assert [row["tags"] for row in rows] == [["a", "b"], None, ["a", "b"]]
    assert [row["last_author_id"] for row in rows] == [None, "z", None]
    assert [row["click"] for row in rows] == [0, 1, 0]
    assert [row["watch_time"] for row in rows] == [None, 3.5, None]
    assert [row["survey_rating"] for row in rows] == [None, None, 4]
    assert [row["entry_id"] for row in rows] == ["1000-0", "1000-0", "1001-0"]
    assert {row["propensity"] for row in rows} == {1.0}
    assert {row["model_version"] for row in rows} == {"m1"}


def test_their_labels_are_those_of_the_join(reader: ExampleReader) -> None:
    labels = label_matrix(reader.read(joined()), SMALL_SPEC.feedback)

    assert labels[:, 0].tolist() == [0, 1, 0]
    assert math.isnan(labels[0, 1])


def test_what_was_not_reported_as_shown_is_no_example(reader: ExampleReader) -> None:
    rows = reader.read(joined(reported=True)).to_pylist()

    assert [(row["video_id"], row["position"]) for row in rows] == [("18", 7), ("17", 1)]


def test_they_are_in_the_order_in_which_they_were_seen(reader: ExampleReader) -> None:
    joiner = Joiner(SMALL_SPEC.feedback, wait_s=5)
    joiner.take(Entry(EntryId(1000, 0), Kind.IMPRESSION, impression("r1", VIDEOS, REQUEST).to_bytes()))
    joiner.take(given(1001, event("1", "r1", "17", "shown", 2), event("2", "r1", "18", "shown", 1)))
    joiner.take(given(1002, event("3", "r1", "18", "click")))

    rows = reader.read(joiner.advance(99_000)).to_pylist()

    assert [(row["video_id"], row["click"]) for row in rows] == [("18", 1), ("17", 0)]


def test_no_impression_is_no_row(reader: ExampleReader) -> None:
    assert reader.read([]).num_rows == 0
    assert reader.read([]).schema == reader.schema
