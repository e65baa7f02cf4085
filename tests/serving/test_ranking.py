import asyncio
import math

import numpy as np
import pyarrow as pa
import pytest
import redis

from ranker.bundles.registry import Registry
from ranker.score.formula import ScoreFormula
from ranker.store.features import FeatureWriter
from ranker.store.keys import video_key
from serving.feature_store import Stored
from serving.ranking import RankingService
from serving.schemas import RankRequest

VIDEOS = {
    "video_id": [f"r{i}" for i in range(40)],
    "topic": [["news", "music", "sport"][i % 3] for i in range(40)],
    "tags": [[f"t{i % 5}"] for i in range(40)],
    "duration_s": [float(i) for i in range(40)],
}
USERS = {"user_id": ["viewer"], "age": [40.0]}


@pytest.fixture(scope="module", autouse=True)
def stored(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        FeatureWriter(client).write_videos(
            pa.RecordBatch.from_pydict(VIDEOS), ["topic", "tags", "duration_s"]
        )
        FeatureWriter(client).write_users(pa.RecordBatch.from_pydict(USERS), ["age"])


@pytest.fixture(scope="module")
def bundle(registry):
    return Registry(registry).read()


def request(ids=VIDEOS["video_id"], **changes):
    body = {"user": {"id": "viewer"}, "query_video_id": "r1", "context": {"hour": 21}}
    return {**body, "candidates": [{"id": video_id} for video_id in ids], **changes}


def rank(client, body):
    response = client.post("/v1/rank", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def by_id(answer):
    return {item["id"]: item for item in answer["items"]}


def test_the_answer_is_the_bundles_prediction_from_the_stored_features(client, bundle):
    answer = rank(client, request())
    columns = {"user_id": "viewer", "age": 40.0, "query_video_id": "r1", "query_topic": "music", "hour": 21}
    rows = zip(*VIDEOS.values(), strict=True)
    expected = bundle.predict(columns, [dict(zip(VIDEOS, row, strict=True)) for row in rows])
    found = by_id(answer)
    for video_id, row in zip(VIDEOS["video_id"], expected, strict=True):
        np.testing.assert_allclose(list(found[video_id]["predictions"].values()), row, rtol=1e-5)
        assert list(found[video_id]["predictions"]) == ["click", "watch_time", "like"]
    assert answer["model_version"] == bundle.manifest.model_version
    assert answer["unknown"] == {"user": False, "videos": []}
    assert answer["degraded"] == []
    assert answer["took_ms"] > 0


def test_items_are_in_the_order_of_their_scores(client, bundle):
    items = rank(client, request())["items"]
    assert [item["position"] for item in items] == list(range(1, 41))
    scores = [item["score"] for item in items]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 30
    predictions = np.array([list(item["predictions"].values()) for item in items])
    formula = ScoreFormula(bundle.spec.score, bundle.spec.tasks)
    np.testing.assert_allclose(scores, formula.score(predictions).score)


class SameForAll:
    """Stands in for the worker and the store: one prediction for every candidate, and nothing stored."""

    async def predict(self, request, candidates):
        return np.full((len(candidates), 3), 0.5)

    async def fetch(self, user_id, query_video_id, video_ids):
        return Stored(None, None, [None] * len(video_ids))


def test_candidates_of_one_score_stay_in_the_requests_order(bundle):
    ranking = RankingService(bundle, SameForAll(), SameForAll())
    body = RankRequest.model_validate(request(ids=["c", "a", "b"]))
    answer = asyncio.run(ranking.rank(body, request_id="x", started=0.0))
    assert [item.id for item in answer.items] == ["c", "a", "b"]


def test_limit_returns_the_best(client):
    everything = rank(client, request())["items"]
    assert rank(client, request(limit=3))["items"] == everything[:3]


def test_contributions_are_given_when_asked_for_and_make_up_the_score(client):
    assert "contributions" not in rank(client, request())["items"][0]
    for item in rank(client, request(explain=True))["items"]:
        assert list(item["contributions"]) == ["click", "watch_time", "like"]
        assert math.exp(sum(item["contributions"].values())) == pytest.approx(item["score"])


def test_stored_features_change_the_prediction(client):
    plain = by_id(rank(client, request(ids=["r5"])))["r5"]["predictions"]
    for changes in (
        {"user": {"id": "viewer", "features": {"age": 90}}},
        {"query_features": {"topic": "sport"}},
        {"context": {"hour": 8}},
        {"candidates": [{"id": "r5", "features": {"duration_s": 3000}}]},
        {"candidates": [{"id": "r5", "features": {"affinity": 3}}]},
    ):
        changed = by_id(rank(client, request(ids=["r5"], **changes) | changes))["r5"]["predictions"]
        assert changed["click"] != pytest.approx(plain["click"], rel=1e-4), changes


def test_a_candidates_prediction_does_not_depend_on_company(client):
    together = by_id(rank(client, request()))
    for video_id in ("r0", "r17", "r39"):
        alone = by_id(rank(client, request(ids=[video_id])))[video_id]
        assert alone["predictions"] == pytest.approx(together[video_id]["predictions"], rel=1e-5)


def test_the_unknown_are_ranked_and_named(client):
    body = request(ids=["r1", "new"], user={"id": "stranger"}, query_video_id="gone")
    answer = rank(client, body)
    assert {item["id"] for item in answer["items"]} == {"r1", "new"}
    assert answer["unknown"] == {"user": True, "videos": ["new", "gone"]}


def test_a_stored_value_of_the_wrong_type_is_left_out_and_said(client, redis_url):
    with redis.Redis.from_url(redis_url) as store:
        store.set(video_key("spoiled"), '{"duration_s": "long"}')
    answer = rank(client, request(ids=["r1", "spoiled"]))
    assert answer["degraded"] == ["stored_features"]
    assert len(answer["items"]) == 2


def test_without_redis_the_request_alone_is_ranked_and_said(client, client_without_redis):
    features = {"topic": "news", "duration_s": 9.0}
    body = request(candidates=[{"id": "r1", "features": features}, {"id": "r2"}])
    answer = rank(client_without_redis, body)
    assert answer["degraded"] == ["feature_store"]
    assert answer["unknown"] == {"user": True, "videos": ["r2", "r1"]}
    assert len(answer["items"]) == 2
