import pyarrow as pa
import pytest
import redis

from ranker.errors import EventLogError
from ranker.store.keys import texts_key
from ranker.stream.layouts import Layouts, columns_of
from ranker.stream.texts import KnownTexts, Texts
from tests.ranker.small_spec import SMALL_SPEC
from tests.ranker.stream.made_events import LAYOUTS, keep

ROWS = [
    {"video_id": "17", "tags": ["a", "b", "a"], "topic": "news", "duration_s": 12.25},
    {"video_id": "18", "tags": [], "topic": None, "duration_s": None},
    {"video_id": "19", "tags": None, "topic": 7, "duration_s": -0.0},
]


def columns(client: redis.Redis) -> dict[str, pa.Array]:
    layout = LAYOUTS.videos
    parts = [part for part in Layouts(client).of(layout.digest) if part.column != "video_id"]
    return columns_of(parts, layout.of_rows(ROWS), Texts(client, SMALL_SPEC.hash_seed))


def test_words_become_the_columns_that_they_were_made_of(client: redis.Redis) -> None:
    keep(client, ROWS)

    found = columns(client)

    assert found["tags"].to_pylist() == [["a", "b", "a"], [], None]
    assert found["topic"].to_pylist() == ["news", None, "7"]
    assert found["duration_s"].to_pylist() == [12.25, None, -0.0]


def test_what_has_no_text_is_missing_and_that_is_said(
    client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    keep(client, ROWS)
    gone = LAYOUTS.videos.of_rows_with_texts([{"tags": ["b"], "topic": "news"}])[1]
    client.hdel(texts_key(SMALL_SPEC.hash_seed), *(word.to_bytes(8, "little") for word in gone))

    found = columns(client)

    assert found["tags"].to_pylist() == [["a", "a"], [], None]
    assert found["topic"].to_pylist() == [None, None, "7"]
    assert "2 of 4 values of impressions count as missing" in caplog.text


def test_a_layout_that_is_not_kept_is_named(client: redis.Redis) -> None:
    with pytest.raises(EventLogError, match=r"watchnext:layouts: expected the layout abc, found none"):
        Layouts(client).of("abc")


def test_a_writer_remembers_which_texts_it_wrote() -> None:
    known = KnownTexts()
    known.written([1, 2])

    assert known.unknown({1: "a", 3: "c"}) == {3: "c"}
