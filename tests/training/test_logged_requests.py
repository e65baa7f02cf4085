"""What rows of a log become when they are played back."""

from typing import Any

import orjson
import pyarrow as pa
import pytest

from ranker.errors import SourceError
from tests.training.live_log import LIVE_SPEC
from training.replay.logged_requests import LoggedRequest, RequestReader

ROW = {
    "time_ms": 1_000,
    "user_id": "u1",
    "country": "se",
    "interests": ["a"],
    "age": 41.5,
    "query_video_id": "q",
    "query_tags": ["x"],
    "query_duration_s": 9.0,
    "hour": 3,
    "video_id": "v1",
    "tags": ["a", "b"],
    "topic": "news",
    "duration_s": 12.5,
    "last_author_id": None,
    "affinity": 0.5,
    "position": 2,
    "device": "tv",
    "click": 1,
    "watch_time": 3.5,
    "like": 0,
    "survey_rating": None,
}
SCHEMA = pa.RecordBatch.from_pylist([{**ROW, "last_author_id": "x", "survey_rating": 4.0}]).schema


def requests(*rows: dict[str, Any]) -> tuple[list[LoggedRequest], RequestReader]:
    reader = RequestReader(LIVE_SPEC, SCHEMA, where="the log")
    batches = [pa.RecordBatch.from_pylist([ROW | row], SCHEMA) for row in rows]
    return list(reader.requests(batches)), reader


def test_rows_of_one_viewer_and_time_are_a_request_that_carries_what_they_have() -> None:
    found, _ = requests({}, {"video_id": "v2", "topic": None}, {"user_id": "u2"}, {"time_ms": 1_001})

    assert [(one.time_ms, list(one.candidates)) for one in found] == [
        (1_000, ["v1", "v2"]),
        (1_000, ["v1"]),
        (1_001, ["v1"]),
    ]
    assert orjson.loads(found[0].body) == {
        "user": {"id": "u1", "features": {"country": "se", "interests": ["a"], "age": 41.5}},
        "query_video_id": "q",
        "query_features": {"tags": ["x"], "duration_s": 9.0},
        "context": {"hour": 3},
        "time_ms": 1_000,
        "candidates": [
            {
                "id": video,
                "features": {
                    "tags": ["a", "b"],
                    "topic": topic,
                    "duration_s": 12.5,
                    "last_author_id": None,
                    "affinity": 0.5,
                },
            }
            for video, topic in (("v1", "news"), ("v2", None))
        ],
    }


def test_labels_are_feedback_after_half_their_wait_but_for_those_that_are_as_without_it() -> None:
    (found,), _ = requests({})

    assert [(e.kind, e.value, e.time_ms) for e in found.events] == [
        ("shown", 2.0, 1_000),
        ("click", 1.0, 2_000),
        ("watch_time", 3.5, 3_000),
    ]
    assert found.events[0].of_request("r")["request_id"] == "r"


def test_a_video_that_one_request_had_twice_is_in_two_with_events_of_their_own() -> None:
    found, _ = requests({}, {})
    again, _ = requests({}, {})

    assert [list(one.candidates) for one in found] == [["v1"], ["v1"]]
    names = [event.event_id for one in found for event in one.events]
    assert len(set(names)) == len(names)
    assert [event.event_id for one in again for event in one.events] == names


def test_other_context_is_another_request() -> None:
    found, _ = requests({}, {"hour": 4, "video_id": "v2"})

    assert len(found) == 2


def test_labels_that_the_log_lacks_though_silence_is_0_are_counted() -> None:
    _, reader = requests({"click": None}, {"click": None, "like": None}, {"watch_time": None})

    assert (reader.rows, reader.silent) == (3, {"click": 2, "like": 1})


def test_a_row_without_a_video_is_named() -> None:
    with pytest.raises(SourceError, match="the log: expected a video in every row, found none in row 1"):
        requests({}, {"video_id": None})
