import math

import numpy as np
import pytest
import redis

from ranker.features.stored import user_records, video_records
from ranker.store.keys import users_key, videos_key
from tests.serving.asking import by_id, rank
from tests.serving.small_ranker import SPEC, store_rows

VIDEOS = {
    f"r{i}": {
        "topic": ["news", "music", "sport"][i % 3],
        "tags": [f"t{i % 5}"],
        "duration_s": float(i),
    }
    for i in range(40)
}
HEADS = ["click", "watch_time", "like"]


@pytest.fixture(scope="module", autouse=True)
def stored(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        videos = [{"video_id": video_id, **columns} for video_id, columns in VIDEOS.items()]
        store_rows(client, videos=videos, users=[{"user_id": "viewer", "age": 40.0}])


def request(ids=tuple(VIDEOS), **changes):
    body = {"user": {"id": "viewer"}, "query_video_id": "r1", "context": {"hour": 21}}
    return {**body, "candidates": [{"id": video_id} for video_id in ids], **changes}


def columns_of(body):
    """The columns that a request amounts to, with what is stored."""
    user, query = body["user"], body["query_video_id"]
    stored = {"age": 40.0} if user["id"] == "viewer" else {}
    of_query = {**VIDEOS.get(query, {}), **body.get("query_features", {})}
    request = {
        **stored,
        **user.get("features", {}),
        "query_topic": of_query.get("topic"),
        **body["context"],
        "user_id": user["id"],
        "query_video_id": query,
    }
    candidates = [
        {**VIDEOS.get(c["id"], {}), **c.get("features", {}), "video_id": c["id"]} for c in body["candidates"]
    ]
    return request, candidates


def check(answer, bundle, body):
    found = by_id(answer)
    expected = bundle.predict(*columns_of(body))
    for candidate, row in zip(body["candidates"], expected, strict=True):
        predictions = found[str(candidate["id"])]["predictions"]
        assert list(predictions) == HEADS
        np.testing.assert_allclose(list(predictions.values()), row, rtol=1e-5)


def test_the_answer_is_the_bundles_prediction_from_the_stored_features(client, bundle):
    answer = rank(client, request())
    check(answer, bundle, request())
    assert answer["model_version"] == bundle.manifest.model_version
    assert answer["unknown"] == {"user": False, "videos": []}
    assert answer["degraded"] == []
    assert answer["took_ms"] > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"user": {"id": "viewer", "features": {"age": 90}}},
        {"user": {"id": "stranger"}},
        {"user": {"id": "stranger", "features": {"age": 7.5}}},
        {"query_features": {"topic": "sport"}},
        {"query_features": {"topic": None}},
        {"query_video_id": None},
        {"query_video_id": "gone"},
        {"query_video_id": "gone", "query_features": {"topic": "news"}},
        {"context": {}},
        {"candidates": [{"id": "r5", "features": {"duration_s": 3000, "affinity": 3}}, {"id": "r6"}]},
        {
            "candidates": [
                {"id": "r5", "features": {"topic": "music"}},
                {"id": "r6", "features": {"topic": None}},
            ]
        },
        {"candidates": [{"id": "new", "features": {"tags": ["t1", "t2"]}}, {"id": "r1"}, {"id": "other"}]},
        {"candidates": [{"id": "r7", "features": {}}, {"id": "r8", "features": {"affinity": None}}]},
    ],
    ids=str,
)
def test_what_the_request_carries_replaces_what_is_stored(client, bundle, changes):
    body = request(ids=["r5", "r6"], **changes) if "candidates" not in changes else {**request(), **changes}
    check(rank(client, body), bundle, body)


def test_items_are_in_the_order_of_their_scores(client, bundle):
    items = rank(client, request())["items"]
    assert [item["position"] for item in items] == list(range(1, 41))
    scores = [item["score"] for item in items]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 30
    predictions = np.array([list(item["predictions"].values()) for item in items])
    policy = bundle.spec.score_policies().default
    np.testing.assert_allclose(scores, policy.score(predictions).score)


def test_limit_returns_the_best(client):
    everything = rank(client, request())["items"]
    assert rank(client, request(limit=3))["items"] == everything[:3]


def test_contributions_are_given_when_asked_for_and_make_up_the_score(client):
    assert "contributions" not in rank(client, request())["items"][0]
    for item in rank(client, request(explain=True))["items"]:
        assert list(item["contributions"]) == HEADS
        assert math.exp(sum(item["contributions"].values())) == pytest.approx(item["score"])


def test_a_candidates_prediction_does_not_depend_on_company(client):
    together = by_id(rank(client, request()))
    for video_id in ("r0", "r17", "r39"):
        alone = by_id(rank(client, request(ids=[video_id])))[video_id]
        assert alone["predictions"] == pytest.approx(together[video_id]["predictions"], rel=1e-5)


def test_ids_are_the_same_as_text_and_as_numbers(client, bundle):
    body = request(ids=[17], user={"id": 4}, query_video_id=5)
    as_text = request(ids=["17"], user={"id": "4"}, query_video_id="5")
    assert rank(client, body)["items"] == rank(client, as_text)["items"]


def test_the_unknown_are_ranked_and_named(client):
    body = request(ids=["r1", "new"], user={"id": "stranger"}, query_video_id="gone")
    answer = rank(client, body)
    assert {item["id"] for item in answer["items"]} == {"r1", "new"}
    assert answer["unknown"] == {"user": True, "videos": ["new", "gone"]}


def test_a_viewer_without_an_id_is_unknown_and_ranked(client, bundle):
    body = request(ids=["r1", "r2"], user={})
    answer = rank(client, body)
    assert answer["unknown"]["user"] is True
    assert answer["items"] == rank(client, {**body, "user": {"id": None}})["items"]
    assert answer["items"] != rank(client, {**body, "user": {"id": "712"}})["items"]
    described = rank(client, {**body, "user": {"features": {"age": 30}}})
    assert described["unknown"]["user"] is False
    assert described["items"] != answer["items"]


def test_a_video_with_a_long_id_is_stored_and_ranked(client):
    """What is trained on and loaded can be ranked: 1,024 bytes, of however many characters."""
    for long in ("x" * 1024, "é" * 512):
        stored = {"id": long, "features": {"topic": "news", "duration_s": 9.0}}
        assert client.put("/v1/videos", json=stored).status_code == 204
        answer = rank(client, request(ids=["r1", long], user={"id": long}, query_video_id=long))
        assert {item["id"] for item in answer["items"]} == {"r1", long}
        assert answer["unknown"]["videos"] == []


def test_an_implausible_time_is_refused_with_the_place_and_the_unit(client):
    answer = client.post("/v1/rank", json=request(ids=["r1"], time_ms=1_690_000_000_000_000))
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == "/time_ms"
    assert error["detail"].endswith("as microseconds it would be 2023-07-22T04:26:40Z")


def test_who_is_described_is_known(client):
    candidates = [{"id": "a", "features": {"topic": "news"}}, {"id": "b"}, {"id": "c", "features": {}}]
    body = request(candidates=candidates, query_video_id="q", query_features={"topic": "news"})
    answer = rank(client, {**body, "user": {"id": "stranger", "features": {"age": 3}}})
    assert answer["unknown"] == {"user": False, "videos": ["b", "c"]}


def test_the_query_video_is_named_once_where_it_is_a_candidate_too(client):
    answer = rank(client, request(ids=["b", "a"], query_video_id="a"))
    assert answer["unknown"]["videos"] == ["b", "a"]


def test_a_viewer_without_features_is_known(client):
    assert client.put("/v1/users", json={"id": "bare"}).status_code == 204
    assert rank(client, request(user={"id": "bare"}))["unknown"]["user"] is False


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (videos_key(video_records(SPEC).digest), "spoiled"),
        (users_key(user_records(SPEC).digest), "spoiled"),
    ],
)
def test_a_stored_record_that_cannot_be_read_is_left_out_and_said(client, redis_url, key, name):
    with redis.Redis.from_url(redis_url) as store:
        store.hset(key, name, "no record")
        answer = rank(client, request(ids=["r1", "spoiled"], user={"id": "spoiled"}))
        store.hdel(key, name)
    assert answer["degraded"] == ["stored_features"]
    assert len(answer["items"]) == 2
    # nobody can say of whom a record is missing, and of whom it is there and cannot be read
    assert answer["unknown"] == {"user": None, "videos": [], "unanswered_videos": ["spoiled"]}


def test_without_redis_the_request_alone_is_ranked_and_said(client_without_redis, bundle):
    features = {"topic": "news", "duration_s": 9.0}
    body = request(candidates=[{"id": "x", "features": features}, {"id": "y"}], query_video_id="z")
    answer = rank(client_without_redis, body)
    assert answer["degraded"] == ["feature_store"]
    assert answer["unknown"] == {"user": None, "videos": [], "unanswered_videos": ["y", "z"]}
    nothing_stored = {"id": "viewer", "features": {"age": None}}
    check(answer, bundle, {**body, "user": nothing_stored})
