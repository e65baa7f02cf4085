from dataclasses import replace
from typing import Any

import pytest

from ranker.errors import EventLogError
from ranker.stream import feedback
from ranker.stream.impressions import Impression
from tests.ranker.stream.made_events import event, impression, same_words

VIDEOS = [
    {"video_id": "17", "tags": ["a", "b"], "duration_s": 12.5, "affinity": 0.5},
    {"video_id": "18", "topic": "news"},
]


def test_an_impression_is_read_back_as_it_was_written() -> None:
    written = impression("r1", VIDEOS, {"user_id": "u", "hour": 3, "age": 4.5})

    assert same_words(Impression.from_bytes(written.to_bytes(), where="here"), written)


@pytest.mark.parametrize("cut", [1, 5, 60, -8, -1])
def test_a_damaged_impression_is_refused_with_its_entry(cut: int) -> None:
    content = impression("r1", VIDEOS).to_bytes()[:cut]

    with pytest.raises(EventLogError, match="entry 5-0: expected an impression"):
        Impression.from_bytes(content, where="entry 5-0")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"scores": [1.0]}, "scores: expected 2, found 1"),
        ({"propensities": [1.0]}, "propensities: expected 2, found 1"),
        ({"predictions": []}, "predictions: expected 2, found 0"),
        ({"served": ("no digest", 0, 0)}, "served"),
        ({"served": ("00", 3, 0)}, r"expected \d+ bytes, found \d+"),
        ({"widths": (-1, 0, 0)}, "widths"),
        ({"time_ms": 2**63}, "time_ms"),
    ],
)
def test_an_impression_with_a_header_that_cannot_be_is_refused(change: dict[str, Any], found: str) -> None:
    written = impression("r1", VIDEOS)
    damaged = replace(written, header=written.header.model_copy(update=change))

    with pytest.raises(EventLogError, match=f"here: expected an impression, found .*{found}"):
        Impression.from_bytes(damaged.to_bytes(), where="here")


def test_feedback_is_read_back_as_it_was_written() -> None:
    events = [event("e1", "r1", "17", value=2.5), event("e2", "r1", "18", "like", time_ms=12)]

    assert feedback.from_bytes(feedback.to_bytes(events), where="here") == events


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b'[["e"]]', b'[[1,"r","v","click",1,null]]', b'[["e","r","v","click","x",null]]', b"[3]"],
)
def test_damaged_feedback_is_refused(content: bytes) -> None:
    with pytest.raises(EventLogError, match="here: expected events"):
        feedback.from_bytes(content, where="here")
