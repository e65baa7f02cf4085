"""What rankings over HTTP leave in the log of events."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ranker.features.encoder import Encoder
from ranker.features.sides import Group
from ranker.stream.examples import ExampleReader
from ranker.stream.joiner import Joiner
from ranker.stream.layouts import Layouts
from ranker.stream.texts import Texts
from serving.app import create_app
from serving.settings import ImpressionMode, Seen, ServingSettings
from tests.serving.asking import rank
from tests.serving.conftest import serving
from tests.serving.event_log import columns, entries, impressions
from tests.serving.small_ranker import SPEC
from tests.serving.state_ranker import log_of, publish_state_ranker
from tests.serving.waiting import wait_until

VIDEOS = {
    "v1": {"topic": "news", "tags": ["a", "b"], "duration_s": 3.5},
    "v2": {"topic": "sport", "tags": [], "duration_s": 60.0},
    "v3": {"tags": ["c"]},
}
NOTHING = {"topic": None, "tags": None, "duration_s": None}


def settings(registry, server, **changes):
    usual = {"impressions": ImpressionMode.SYNC}
    return ServingSettings(registry=registry, redis_url=server.url, **usual | changes)


@pytest.fixture(scope="module")
def service(registry, server):
    with serving(create_app(settings(registry, server))) as client:
        yield client


def put_world(service):
    for video_id, features in VIDEOS.items():
        assert service.put("/v1/videos", json={"id": video_id, "features": features}).status_code == 204
    assert service.put("/v1/users", json={"id": "u", "features": {"age": 33}}).status_code == 204


def body(**changes):
    asked = {
        "user": {"id": "u"},
        "query_video_id": "v1",
        "context": {"hour": 21},
        "candidates": [
            {"id": "v1"},
            {"id": "v2", "features": {"affinity": 0.25, "tags": ["z", "a"]}},
            {"id": "v3", "features": {"affinity": None, "topic": "music"}},
            {"id": "new"},
        ],
    }
    return {**asked, **changes}


def test_an_impression_says_what_was_returned_and_by_what(service, store):
    put_world(service)
    answer = rank(service, body(limit=3, time_ms=1_700_000_000_000, policy="likes"))
    [impression] = impressions(store)
    header = impression.header
    assert header.request_id == answer["request_id"]
    assert header.time_ms == 1_700_000_000_000
    assert (header.user_id, header.query_video_id) == ("u", "v1")
    assert header.video_ids == [item["id"] for item in answer["items"]]
    assert header.scores == [item["score"] for item in answer["items"]]
    assert header.model_version == answer["model_version"]
    assert (header.score_policy, header.score_version) == ("likes", answer["score_version"])
    assert (header.predictions, header.propensities, header.reported) == (None, None, False)
    assert answer["degraded"] == []


def test_its_columns_are_what_was_ranked_with(service, store):
    """Stored features, replaced by what the request carries, and nothing of what is not known."""
    put_world(service)
    answer = rank(service, body())
    [impression] = impressions(store)
    request, videos, pairs = columns(store, impression)
    assert request == {"age": [33.0], "query_topic": ["news"], "hour": ["21"]}
    expected = {
        "v1": VIDEOS["v1"],
        "v2": {**VIDEOS["v2"], "tags": ["z", "a"]},
        "v3": {**NOTHING, **VIDEOS["v3"], "topic": "music"},
        "new": NOTHING,
    }
    order = [item["id"] for item in answer["items"]]
    found = {
        video_id: {name: values[row] for name, values in videos.items()} for row, video_id in enumerate(order)
    }
    assert found == expected
    affinity = {"v1": None, "v2": 0.25, "v3": None, "new": None}
    assert pairs == {"affinity": [affinity[video_id] for video_id in order]}


def test_its_words_are_those_of_the_bundles_own_path(service, store):
    put_world(service)
    answer = rank(service, body())
    [impression] = impressions(store)
    records = Encoder(SPEC).records
    request = {"user_id": "u", "age": 33, "query_video_id": "v1", "query_topic": "news", "hour": 21}
    np.testing.assert_array_equal(impression.request, records[Group.REQUEST].of_rows([request]))
    shown = {
        "v1": VIDEOS["v1"],
        "v2": {**VIDEOS["v2"], "tags": ["z", "a"]},
        "v3": {**VIDEOS["v3"], "topic": "music"},
    }
    rows = [{**shown.get(item["id"], {}), "video_id": item["id"]} for item in answer["items"]]
    np.testing.assert_array_equal(impression.videos, records[Group.CANDIDATE].of_rows(rows))


def test_a_viewer_without_an_id_and_no_query_video_are_null(service, store):
    rank(service, {"user": {}, "candidates": [{"id": "v1"}]})
    [impression] = impressions(store)
    assert (impression.header.user_id, impression.header.query_video_id) == (None, None)


def test_every_answer_has_its_impression_in_order(service, store):
    asked = [rank(service, body())["request_id"] for _ in range(5)]
    assert [impression.header.request_id for impression in impressions(store)] == asked


def test_answers_at_the_same_time_have_theirs_once_each(service, store):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: rank(service, body()), range(60)))
    assert all(answer["degraded"] == [] for answer in answers)
    found = [impression.header.request_id for impression in impressions(store)]
    assert sorted(found) == sorted(answer["request_id"] for answer in answers)


def test_what_was_shown_and_done_can_be_joined(service, store):
    """From two calls over HTTP to the rows that are learned from."""
    put_world(service)
    answer = rank(service, body(limit=3))
    liked, watched = answer["items"][0]["id"], answer["items"][2]["id"]
    about = {"request_id": answer["request_id"]}
    events = [
        {"event_id": "1", "video_id": liked, "kind": "like", **about},
        {"event_id": "2", "video_id": watched, "kind": "watch_time", "value": 12.5, **about},
    ]
    assert service.post("/v1/events", json={"events": events}).json()["written"] == 2
    joiner = Joiner(SPEC.feedback, wait_s=60)
    joined = [each for entry in entries(store) for each in joiner.take(entry)]
    assert joined == []
    joined = joiner.advance(entries(store)[-1].id.ms + 60_001)
    rows = ExampleReader(SPEC, Layouts(store), Texts(store, SPEC.hash_seed)).read(joined).to_pylist()
    assert joiner.take_rejected() == []
    assert [row["video_id"] for row in rows] == [item["id"] for item in answer["items"]]
    assert [row["position"] for row in rows] == [1, 2, 3]
    assert [row["like"] for row in rows] == [1.0, 0.0, 0.0]
    assert [row["watch_time"] for row in rows] == [None, None, 12.5]
    for row in rows:
        assert (row["user_id"], row["age"], row["hour"], row["query_topic"]) == ("u", 33.0, "21", "news")
        assert row["duration_s"] == VIDEOS.get(row["video_id"], NOTHING).get("duration_s")


def test_a_request_that_is_not_answered_has_none(service, store):
    assert service.post("/v1/rank", json=body(policy="none")).status_code == 422
    assert service.post("/v1/rank", json=body(candidates=[])).status_code == 422
    assert entries(store) == []


def test_texts_of_stored_records_are_kept_and_those_that_a_request_carries_are_in_its_impression(
    service, store
):
    put_world(service)
    stored = {text.decode() for text in store.hgetall("watchnext:texts:0").values()}
    assert stored == {"news", "sport", "a", "b", "c"}
    for hour in range(5):
        rank(service, body(context={"hour": hour}))
    assert store.hlen("watchnext:texts:0") == len(stored)
    carried = [sorted(impression.header.texts) for impression in impressions(store)]
    assert carried == [sorted({str(hour), "music", "z", "a"}) for hour in range(5)]


def test_texts_of_videos_that_are_not_returned_are_not_kept(service, store):
    tags = [["one", "both"], ["two", "both"]]
    candidates = [{"id": f"v{row}", "features": {"tags": own}} for row, own in enumerate(tags)]
    [kept] = rank(service, {"user": {}, "candidates": candidates, "limit": 1})["items"]
    [impression] = impressions(store)
    assert sorted(impression.header.texts) == sorted(tags[int(kept["id"][1])])


def test_what_redis_lost_is_written_again(service, store):
    """Layouts and carried texts, without which nobody could read what is written from then on."""
    carried = {
        "user": {},
        "context": {"hour": 21},
        "candidates": [{"id": "lost", "features": {"tags": ["z", "a"]}}],
    }
    rank(service, carried)
    store.flushall()
    rank(service, carried)
    [impression] = impressions(store)
    request, videos, _ = columns(store, impression)
    assert request["hour"] == ["21"]
    assert videos["tags"] == [["z", "a"]]


def test_predictions_are_kept_on_demand_and_reported_says_what_counts_as_seen(registry, server, store):
    changes = {"log_predictions": True, "impressions_seen": Seen.SHOWN}
    with serving(create_app(settings(registry, server, **changes))) as client:
        answer = rank(client, body(limit=2))
    [impression] = impressions(store)
    assert impression.header.reported
    assert impression.header.predictions == [list(item["predictions"].values()) for item in answer["items"]]


def test_it_says_up_to_when_the_state_had_learned(server, store, tmp_path):
    log = log_of(50)
    publish_state_ranker(tmp_path, log)
    with serving(create_app(settings(str(tmp_path), server))) as client:
        rank(client, body())
    [impression] = impressions(store)
    assert impression.header.state_ms == log.column("time_ms")[-1].as_py()


def test_off_writes_nothing(registry, server, store):
    with serving(create_app(settings(registry, server, impressions=ImpressionMode.OFF))) as client:
        answer = rank(client, body())
    assert answer["degraded"] == []
    assert entries(store) == []
    assert not store.exists("watchnext:layouts")


def test_async_writes_soon(registry, server, store):
    with serving(create_app(settings(registry, server, impressions=ImpressionMode.ASYNC))) as client:
        asked = [rank(client, body()) for _ in range(3)]
        wait_until(lambda: len(impressions(store)) == 3, "the impressions to be written")
    assert [answer["degraded"] for answer in asked] == [[], [], []]
    assert [one.header.request_id for one in impressions(store)] == [each["request_id"] for each in asked]


@pytest.mark.parametrize("mode", [ImpressionMode.SYNC, ImpressionMode.ASYNC])
def test_the_end_of_the_service_loses_nothing(registry, server, store, mode):
    with serving(create_app(settings(registry, server, impressions=mode))) as client:
        asked = [rank(client, body())["request_id"] for _ in range(3)]
    assert [impression.header.request_id for impression in impressions(store)] == asked


def test_without_redis_rankings_go_on_and_say_so(registry):
    away = ServingSettings(
        registry=registry, redis_url="redis://127.0.0.1:1", impressions=ImpressionMode.SYNC
    )
    with serving(create_app(away)) as client:
        assert rank(client, body())["degraded"] == ["feature_store", "impressions"]
