"""The service as a process, its private Redis as another, and a client over real HTTP."""

import os
import signal

import httpx
import numpy as np
import pyarrow as pa
import pytest

from ranker.bundles.registry import Registry
from ranker.store.connection import connect
from ranker.store.features import FeatureWriter
from tests.serving.service_process import service_process
from tests.serving.small_ranker import SPEC, publish_small_ranker

COUNT = 500
RNG = np.random.default_rng(7)
VIDEOS = {
    "video_id": [str(i) for i in range(COUNT)],
    "topic": RNG.choice(["news", "music", "sport"], COUNT).tolist(),
    "tags": [[f"t{i % 7}", f"t{i % 11}"] for i in range(COUNT)],
    "duration_s": RNG.exponential(60, COUNT).tolist(),
}
BODY = {
    "user": {"id": "712"},
    "query_video_id": "5",
    "context": {"hour": 21},
    "candidates": [{"id": str(i)} for i in range(COUNT)],
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    publish_small_ranker(folder)
    return str(folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A data folder whose store was filled, and closed again, before the service starts."""
    home = tmp_path_factory.mktemp("home")
    with connect(None, home) as store:
        writer = FeatureWriter(store)
        writer.write_videos(pa.RecordBatch.from_pydict(VIDEOS), SPEC.video_columns)
        writer.write_users(pa.RecordBatch.from_pydict({"user_id": [712], "age": [35.0]}), SPEC.user_columns)
    return home


@pytest.fixture(scope="module")
def client(registry, home):
    with (
        service_process("--registry", registry, "--home", str(home)) as (_, url),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


def rank(client, **changes):
    response = client.post("/v1/rank", json={**BODY, **changes})
    assert response.status_code == 200, response.text
    return response.json()


def predictions_by_id(answer):
    return {item["id"]: list(item["predictions"].values()) for item in answer["items"]}


def test_five_hundred_candidates_are_ranked_by_their_stored_features(client, registry):
    answer = rank(client)
    columns = {"user_id": "712", "age": 35.0, "query_video_id": "5", "hour": 21}
    candidates = [dict(zip(VIDEOS, row, strict=True)) for row in zip(*VIDEOS.values(), strict=True)]
    columns["query_topic"] = candidates[5]["topic"]
    expected = Registry(registry).read().predict(columns, candidates)
    found = predictions_by_id(answer)
    assert len(found) == COUNT
    for candidate, row in zip(candidates, expected, strict=True):
        np.testing.assert_allclose(found[candidate["video_id"]], row, rtol=1e-4)
    assert answer["unknown"] == {"user": False, "videos": []}
    assert answer["degraded"] == []


def test_a_candidate_alone_is_predicted_as_among_499_others(client):
    together = predictions_by_id(rank(client))
    for video_id in ("0", "250", "499"):
        alone = predictions_by_id(rank(client, candidates=[{"id": video_id}]))
        np.testing.assert_allclose(alone[video_id], together[video_id], rtol=1e-5)


def test_features_loaded_while_serving_change_the_predictions(client, home):
    before = rank(client, user={"id": "fresh"})
    with connect(None, home) as store:
        batch = pa.RecordBatch.from_pydict({"user_id": ["fresh"], "age": [80.0]})
        FeatureWriter(store).write_users(batch, SPEC.user_columns)
    after = rank(client, user={"id": "fresh"})
    assert (before["unknown"]["user"], after["unknown"]["user"]) == (True, False)
    assert predictions_by_id(after)["0"] != pytest.approx(predictions_by_id(before)["0"], rel=1e-4)


def test_the_unknown_are_ranked_and_named(client):
    answer = rank(client, user={"id": "stranger"}, candidates=[{"id": "1"}, {"id": "new"}])
    assert {item["id"] for item in answer["items"]} == {"1", "new"}
    assert answer["unknown"] == {"user": True, "videos": ["new"]}


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"candidates": []}, "/candidates"),
        ({"candidates": [{"id": "1"}, {"id": "2"}, {"id": "1"}]}, "/candidates/2/id"),
        ({"candidates": [{"id": str(i)} for i in range(1001)]}, "/candidates"),
        ({"candidates": [{"id": "1", "features": {"duraton_s": 1}}]}, "/candidates/0/features/duraton_s"),
        ({"candidates": [{"id": "1", "features": {"duration_s": "1"}}]}, "/candidates/0/features/duration_s"),
        ({"context": {"minute": 3}}, "/context/minute"),
        ({"user": {"id": ""}}, "/user/id"),
        ({"limit": -1}, "/limit"),
        ({"colour": "blue"}, "/colour"),
    ],
)
def test_a_malformed_request_is_answered_with_the_place(client, changes, pointer):
    answer = client.post("/v1/rank", json={**BODY, **changes})
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"user": NaN}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b" " * (2 * 1024 * 1024 + 1), "application/json", 413),
        (b"user=712", "application/x-www-form-urlencoded", 415),
    ],
)
def test_what_is_no_json_of_a_fair_size_is_refused(client, content, content_type, status):
    answer = client.post("/v1/rank", content=content, headers={"Content-Type": content_type})
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_when_redis_is_killed_requests_are_ranked_without_it(registry, tmp_path):
    with service_process("--registry", registry, "--home", str(tmp_path)) as (_, url):
        assert httpx.get(f"{url}/readyz").status_code == 200
        with connect(None, tmp_path) as store:
            os.kill(store.info("server")["process_id"], signal.SIGKILL)
        answer = httpx.post(f"{url}/v1/rank", json=BODY, timeout=60)
        assert answer.status_code == 200
        assert answer.json()["degraded"] == ["feature_store"]
        assert len(answer.json()["items"]) == COUNT
        assert httpx.get(f"{url}/readyz").status_code == 503
        assert httpx.get(f"{url}/healthz").status_code == 200
