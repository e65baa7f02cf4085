"""The service as a process, its private Redis as another, and a client over real HTTP."""

import threading
import time

import httpx
import numpy as np
import pytest

from ranker.bundles.registry import Registry
from ranker.private_redis.server import private_server
from ranker.store.connection import connect
from tests.serving.service_process import service_process
from tests.serving.small_ranker import publish_small_ranker, store_rows
from tests.serving.waiting import join

COUNT = 500
RNG = np.random.default_rng(7)
VIDEOS = {
    "video_id": [str(i) for i in range(COUNT)],
    "topic": RNG.choice(["news", "music", "sport"], COUNT).tolist(),
    "tags": [[f"t{i % 7}", f"t{i % 11}"] for i in range(COUNT)],
    "duration_s": RNG.exponential(60, COUNT).tolist(),
}
ROWS = [dict(zip(VIDEOS, row, strict=True)) for row in zip(*VIDEOS.values(), strict=True)]
BODY = {
    "user": {"id": "712"},
    "query_video_id": "5",
    "context": {"hour": 21},
    "candidates": [{"id": str(i)} for i in range(COUNT)],
}
PROBABILITIES = [0, 2]
"""The places of click and like; a service in bfloat16 is to be within a hundredth of them."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    publish_small_ranker(folder)
    return str(folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A data folder whose store was filled, and closed again, before the service starts."""
    home = tmp_path_factory.mktemp("home")
    with private_server(home) as url, connect(url) as store:
        store_rows(store, videos=ROWS, users=[{"user_id": "712", "age": 35.0}])
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
    columns["query_topic"] = ROWS[5]["topic"]
    expected = Registry(registry).read().predict(columns, ROWS)
    found = predictions_by_id(answer)
    assert len(found) == COUNT
    found = np.array([found[row["video_id"]] for row in ROWS])
    np.testing.assert_allclose(found[:, PROBABILITIES], expected[:, PROBABILITIES], atol=0.01)
    np.testing.assert_allclose(found[:, 1], expected[:, 1], rtol=0.1, atol=0.1)
    assert answer["unknown"] == {"user": False, "videos": []}
    assert answer["degraded"] == []


def test_a_candidate_alone_is_predicted_as_among_499_others(client):
    together = predictions_by_id(rank(client))
    for video_id in ("0", "250", "499"):
        alone = predictions_by_id(rank(client, candidates=[{"id": video_id}]))
        np.testing.assert_allclose(alone[video_id], together[video_id], rtol=0.02, atol=1e-3)


def test_features_loaded_while_serving_change_the_predictions(client, home):
    before = rank(client, user={"id": "fresh"})
    with private_server(home) as url, connect(url) as store:
        store_rows(store, users=[{"user_id": "fresh", "age": 80.0}])
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
        (b"[" * 50_000, "application/json", 400),
        (b"[" * 100_000, "application/json", 413),
        (b" " * (2 * 1024 * 1024 + 1), "application/json", 413),
        (b"user=712", "application/x-www-form-urlencoded", 415),
    ],
)
def test_what_is_no_json_of_a_fair_size_is_refused(client, content, content_type, status):
    answer = client.post("/v1/rank", content=content, headers={"Content-Type": content_type})
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def clicks(client, *ids):
    """The predicted click of each video."""
    found = predictions_by_id(rank(client, candidates=[{"id": video_id} for video_id in ids]))
    return [found[video_id][0] for video_id in ids]


def test_a_video_that_is_put_is_seen_by_every_service(client, registry, home):
    record = {"id": "7", "features": {"topic": "sport", "tags": ["t1"], "duration_s": 40_000}}
    with (
        service_process("--registry", registry, "--home", str(home)) as (_, url),
        httpx.Client(base_url=url, timeout=60) as other,
    ):
        before = clicks(client, "7")
        assert clicks(other, "7") == pytest.approx(before, abs=0.01)
        assert client.put("/v1/videos", json=record).status_code == 204
        carried = [{"id": "7", "features": record["features"]}]
        changed = predictions_by_id(rank(client, candidates=carried))["7"][:1]
        assert changed != pytest.approx(before, abs=0.01)
        for service in (client, other):
            until(lambda service=service: clicks(service, "7") == pytest.approx(changed, abs=0.005))


def test_a_catalogue_that_is_loaded_while_serving_is_taken_up(client, home):
    """20,000 new videos, while requests are answered."""
    new = [{"video_id": f"bulk{i}", "duration_s": float(i), "topic": "news"} for i in range(20_000)]
    wanted = ["bulk0", "bulk10000", "bulk19999"]
    loaded, statuses = threading.Event(), []

    def ask():
        while not loaded.is_set():
            statuses.append(client.post("/v1/rank", json=BODY).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    with private_server(home) as url, connect(url) as store:
        for start in range(0, len(new), 2_000):
            store_rows(store, videos=new[start : start + 2_000])

    def resident():
        metrics = client.get("/metrics").text.splitlines()
        [line] = [line for line in metrics if line.startswith("watchnext_resident_videos ")]
        return float(line.split()[-1])

    until(lambda: resident() >= len(new))
    loaded.set()
    join(asking)
    assert set(statuses) == {200}
    assert rank(client, candidates=[{"id": name} for name in wanted])["unknown"]["videos"] == []
