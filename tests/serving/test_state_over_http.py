"""A model whose features learn from the stream, as a client sees it."""

import time

import pytest

from ranker.bundles.bundle import unpack
from ranker.bundles.registry import Registry
from ranker.store.connection import connect_later
from ranker.store.state_store import StateStore
from serving.app import create_app
from serving.settings import ServingSettings
from serving.sync import hot_swap
from tests.serving.conftest import serving
from tests.serving.state_ranker import log_of, packed_state_ranker, publish_state_ranker

LOG = log_of(600)
WATERMARK_MS = LOG.column("time_ms")[299].as_py()
END_MS = LOG.column("time_ms")[599].as_py()
LATER_MS = END_MS + 3_600_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    publish_state_ranker(folder, LOG.slice(0, 300))
    return folder


@pytest.fixture(scope="module")
def client(folder, redis_url):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hot_swap, "POLL_S", 0.05)
        with serving(create_app(ServingSettings(registry=str(folder), redis_url=redis_url))) as client:
            yield client


def rank(client, user="u1", videos=("v1", "v2", "v3"), **changes):
    """Predictions by video."""
    body = {"user": {"id": user}, "candidates": [{"id": name} for name in videos], **changes}
    answer = client.post("/v1/rank", json=body)
    assert answer.status_code == 200, answer.text
    return {item["id"]: item["predictions"] for item in answer.json()["items"]}


def test_the_model_says_what_it_learns_from_the_stream(client):
    model = client.get("/v1/model").json()
    features = {feature["name"]: feature for feature in model["state_features"]}
    assert features["user_tag_rates"] == {
        "name": "user_tag_rates",
        "kind": "rate",
        "of": ["user_id", "tags"],
        "labels": ["click"],
    }
    assert features["seen"] == {"name": "seen", "kind": "age", "of": ["user_id", "video_id"], "labels": []}
    assert features["clicked"] == {
        "name": "clicked",
        "kind": "history",
        "of": ["video_id"],
        "labels": ["click"],
    }
    assert model["state_watermark_ms"] == model["watermark_ms"] == WATERMARK_MS


def test_the_answer_says_how_old_the_state_is(client):
    body = {"user": {"id": "u1"}, "candidates": [{"id": "v1"}]}
    fresh = client.post("/v1/rank", json={**body, "time_ms": WATERMARK_MS + 1_500}).json()
    assert (fresh["state_age_s"], fresh["state_stale"]) == (1.5, False)
    stale = client.post("/v1/rank", json={**body, "time_ms": WATERMARK_MS + 8 * 86_400_000}).json()
    assert (stale["state_age_s"], stale["state_stale"]) == (8 * 86_400.0, True)


def test_what_is_known_is_read_as_of_the_requests_time(client, folder):
    """Later, an age is greater and a rate has decayed; the moment is in the request, or it is now."""
    soon, later = (rank(client, time_ms=time_ms) for time_ms in (LATER_MS, LATER_MS + 30 * 86_400_000))
    assert soon != later
    assert soon == rank(client, time_ms=LATER_MS)
    bundle = Registry(str(folder)).read()
    bundle.encoder.feature_state.advance(LATER_MS)
    for name, predictions in soon.items():
        [expected] = bundle.predict({"user_id": "u1"}, [{"video_id": name}], time_ms=LATER_MS)
        assert list(predictions.values()) == pytest.approx(expected.tolist(), rel=1e-4)
    [now] = bundle.predict({"user_id": "u1"}, [{"video_id": "v1"}], time_ms=time.time_ns() // 1_000_000)
    assert list(rank(client)["v1"].values()) == pytest.approx(now.tolist(), rel=1e-3)


def test_a_viewer_and_a_video_of_whom_nothing_is_known_are_ranked(client):
    found = rank(client, user="nobody", videos=("v1", "never shown"), time_ms=LATER_MS)
    assert all(0 < predictions["click"] < 1 for predictions in found.values())


def test_a_request_for_whom_is_known_something_differs_from_one_for_nobody(client):
    assert rank(client, time_ms=LATER_MS) != rank(client, user="nobody", time_ms=LATER_MS)


@pytest.mark.parametrize("time_ms", [0, -1, 2**53 + 1, 1.5, "now", True])
def test_a_time_that_is_none_is_refused(client, time_ms):
    body = {"user": {"id": "u1"}, "candidates": [{"id": "v1"}], "time_ms": time_ms}
    answer = client.post("/v1/rank", json=body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/time_ms"]


def test_the_time_of_a_request_is_described(client):
    document = client.get("/openapi.json").json()
    described = document["components"]["schemas"]["RankRequest"]["properties"]["time_ms"]["description"]
    assert "Unix epoch in milliseconds; now by default" in described
    assert "state_watermark_ms" in document["components"]["schemas"]["ModelResponse"]["properties"]


def test_a_newer_state_changes_the_answers_without_a_new_model(client, redis_url):
    before, version = rank(client, time_ms=LATER_MS), client.get("/v1/model").json()["model_version"]
    bundle = unpack(packed_state_ranker(LOG), where="test")
    state = bundle.encoder.feature_state
    with connect_later(redis_url, timeout_s=5) as store:
        StateStore(store, state.digest).write(state.state(), END_MS)
    deadline = time.monotonic() + 20
    while client.get("/v1/model").json()["state_watermark_ms"] != END_MS:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert client.get("/v1/model").json()["model_version"] == version
    assert rank(client, time_ms=LATER_MS) != before
    ages = [
        line for line in client.get("/metrics").text.splitlines() if line.startswith("watchnext_state_age")
    ]
    assert float(ages[0].split()[-1]) == pytest.approx(time.time() - END_MS / 1000, rel=1e-3)
    assert client.get("/readyz").status_code == 200
