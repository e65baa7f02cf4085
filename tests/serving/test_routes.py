import re
import threading
import time
from contextlib import contextmanager

import pytest

from ranker.features.kinds.cross import CrossFeature
from serving.app import create_app
from serving.settings import ServingSettings
from tests.serving.conftest import serving
from tests.serving.small_ranker import SPEC
from tests.serving.waiting import join

BODY = {"user": {"id": "u"}, "candidates": [{"id": "a"}]}


def test_the_model_is_described(client):
    model = client.get("/v1/model").json()
    assert model["model_version"].startswith("small-1-")
    assert model["spec"] == "small"
    assert model["watermark_ms"] == 1_690_000_000_000
    assert model["metrics"] == {"click": {"auc": 0.7}}
    columns = [feature.name for feature in SPEC.features if not isinstance(feature, CrossFeature)]
    assert [feature["name"] for feature in model["features"]] == columns
    assert {"name": "query_topic", "column": "query_topic", "side": "query", "kind": "category"} in model[
        "features"
    ]
    assert model["crosses"] == {"user_topic": ["user_id", "topic"]}
    assert model["state_features"] == []
    assert {"name": "watch_time", "group": "engagement", "kind": "regression", "unit": "s"} in model["tasks"]
    assert [term["head"] for term in model["score"]["terms"]] == ["click", "watch_time", "like"]


def test_the_score_policies_are_listed_with_their_versions(client):
    model = client.get("/v1/model").json()
    default, likes = model["score_policies"]
    assert default == {
        "name": "default",
        "score_version": model["score_version"],
        "contributions": "parts of the logarithm of the score",
        "score": model["score"],
    }
    assert likes == {
        "name": "likes",
        "score_version": SPEC.policies["likes"].version,
        "contributions": "parts of the score",
        "score": SPEC.policies["likes"].model_dump(mode="json"),
    }


def test_the_score_version_of_the_model_is_that_of_the_rankings(client):
    ranking = client.post("/v1/rank", json=BODY).json()
    model = client.get("/v1/model").json()
    assert ranking["score_version"] == model["score_version"]
    for policy in model["score_policies"]:
        asked = client.post("/v1/rank", json={**BODY, "policy": policy["name"]}).json()
        assert asked["score_version"] == policy["score_version"]
    assert ranking["model_version"] == model["model_version"]


def click(client, **changes):
    answer = client.post("/v1/rank", json={**BODY, **changes})
    assert answer.status_code == 200
    return answer.json()["items"][0]["predictions"]["click"]


@pytest.mark.parametrize(
    ("path", "record", "request_"),
    [
        ("/v1/users", {"id": "put", "features": {"age": 90.0}}, {"user": {"id": "put"}}),
        ("/v1/users", {"id": 55, "features": {"age": 90}}, {"user": {"id": "55"}}),
        (
            "/v1/videos",
            {"id": "put", "features": {"duration_s": 3000, "tags": ["x"]}},
            {"candidates": [{"id": "put"}]},
        ),
        ("/v1/videos", {"id": "put query", "features": {"topic": "music"}}, {"query_video_id": "put query"}),
    ],
)
def test_a_record_that_is_put_is_ranked_with(client, path, record, request_):
    before = click(client, **request_)
    answer = client.put(path, json=record)
    assert (answer.status_code, answer.content) == (204, b"")
    deadline = time.monotonic() + 20
    while click(client, **request_) == pytest.approx(before, rel=1e-4):
        assert time.monotonic() < deadline


def test_a_record_is_put_in_place_of_the_whole_of_the_old_one(client):
    client.put("/v1/users", json={"id": "whole", "features": {"age": 90.0}})
    client.put("/v1/users", json={"id": "whole"})
    carried = {"id": "whole", "features": {"age": None}}
    assert click(client, user={"id": "whole"}) == pytest.approx(click(client, user=carried))


@pytest.mark.parametrize(
    ("path", "record", "pointer", "detail"),
    [
        ("/v1/users", {"id": "u", "features": {"topic": "news"}}, "/features/topic", "(age)"),
        ("/v1/users", {"id": "u", "features": {"user_id": "v"}}, "/features/user_id", "(age)"),
        (
            "/v1/users",
            {"id": "u", "features": {"age": "old"}},
            "/features/age",
            "expected a finite number, found 'old'",
        ),
        (
            "/v1/videos",
            {"id": "v", "features": {"affinity": 1}},
            "/features/affinity",
            "(topic, tags, duration_s)",
        ),
        (
            "/v1/videos",
            {"id": "v", "features": {"tags": "a"}},
            "/features/tags",
            "expected a list of ids, found 'a'",
        ),
        (
            "/v1/videos",
            {"id": "v", "features": {"tags": ["x" * 1025]}},
            "/features/tags",
            "at most 1024 bytes",
        ),
        ("/v1/videos", {"features": {}}, "/id", "expected this field"),
        ("/v1/videos", {"id": ""}, "/id", "expected text of 1 to 1,024 bytes"),
        ("/v1/videos", {"id": "v", "features": {"duration_s": 10**400}}, "/features/duration_s", "finite"),
        ("/v1/users", {"id": "u", "age": 3}, "/age", "unknown field"),
    ],
)
def test_a_record_that_cannot_be_stored_is_refused_with_the_place(client, path, record, pointer, detail):
    answer = client.put(path, json=record)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    [error] = answer.json()["errors"]
    assert error["pointer"] == pointer
    for part in detail.strip("()").split(", "):
        assert part in error["detail"]
    assert "row" not in error["detail"]


@pytest.mark.parametrize("path", ["/v1/users", "/v1/videos"])
def test_without_redis_nothing_can_be_put(client_without_redis, path):
    answer = client_without_redis.put(path, json={"id": "a"})
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:watchnext:store-unavailable"
    assert int(answer.headers["Retry-After"]) >= 1


@contextmanager
def busy(app, client):
    """Keep the model's thread from ranking: making a stored video resident takes all the while."""
    let_go, began = threading.Event(), threading.Event()
    model = app.state.ranking.model
    inner = model.put_videos

    def put_videos(*args, **options):
        began.set()
        assert let_go.wait(60)
        inner(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "put_videos", put_videos)
        assert client.put("/v1/videos", json={"id": "slow"}).status_code == 204
        assert began.wait(60)
        try:
            yield
        finally:
            let_go.set()


@pytest.fixture(scope="module")
def service(registry, redis_url):
    app = create_app(ServingSettings(registry=registry, redis_url=redis_url))
    with serving(app) as client:
        yield app, client


@pytest.mark.parametrize(
    ("body", "headers"),
    [({"timeout_ms": 20}, {}), ({}, {"X-Timeout-Ms": "20"}), ({"timeout_ms": 20}, {"X-Timeout-Ms": "60000"})],
)
def test_what_cannot_be_ranked_in_time_is_answered_so(service, body, headers):
    app, client = service
    answers = []
    ask = threading.Thread(
        target=lambda: answers.append(client.post("/v1/rank", json={**BODY, **body}, headers=headers))
    )
    with busy(app, client):
        ask.start()
        time.sleep(0.2)
    join(ask)
    [answer] = answers
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:watchnext:deadline-passed"


def test_an_error_of_the_model_is_no_answer_to_others_and_tells_nothing(service, monkeypatch, caplog):
    app, client = service
    model = app.state.ranking.model

    def fail(requests):
        raise RuntimeError("secret inside")

    with monkeypatch.context() as patch:
        patch.setattr(model, "predict", fail)
        answer = client.post("/v1/rank", json=BODY)
    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:watchnext:internal-error"
    assert "secret" not in answer.text
    assert "secret inside" in caplog.text
    assert client.post("/v1/rank", json=BODY).status_code == 200


def test_the_service_is_ready_with_redis(client):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    assert answer.json()["feature_store"] == "available"


def test_the_service_is_ready_without_redis_too_and_says_so(client_without_redis):
    """Or one Redis would take every replica out of the balancer, though they would go on ranking."""
    assert client_without_redis.get("/healthz").json() == {"status": "ok"}
    answer = client_without_redis.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["feature_store"] == "unavailable"
    assert client_without_redis.post("/v1/rank", json=BODY).status_code == 200
    assert "watchnext_feature_store_answers 0.0" in client_without_redis.get("/metrics").text


def test_a_service_whose_model_does_not_rank_is_not_ready(service, monkeypatch):
    app, client = service
    monkeypatch.setattr("serving.ranking.READY_S", 0.05)
    with busy(app, client):
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:watchnext:not-ready"
        assert client.get("/healthz").status_code == 200
    monkeypatch.undo()
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_may_ask_for_the_head_alone(client, path):
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("path", ["/healthz/", "/v1/rank/"])
def test_no_path_leads_elsewhere(client, path):
    answer = client.get(path, headers={"Host": "localhost"}, follow_redirects=False)
    assert answer.status_code == 404
    assert "location" not in answer.headers


def test_a_late_request_is_counted_once(service):
    app, client = service

    def late():
        text = client.get("/metrics").text
        return float(re.search(r'rejects_total{reason="deadline"} (\S+)', text)[1])

    before = late()
    with busy(app, client):
        assert client.post("/v1/rank", json={**BODY, "timeout_ms": 1}).status_code == 503
    assert late() == before + 1


def test_the_interface_is_documented(client):
    assert client.get("/docs").status_code == 200
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for schema in ("RankRequest", "RankResponse", "RankedVideo", "Candidate", "RecordInput"):
        for name, field in schemas[schema]["properties"].items():
            assert "description" in field, f"{schema}.{name}"


def test_what_contributions_are_is_documented_for_every_way_of_combining(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    description = schemas["RankedVideo"]["properties"]["contributions"]["description"]
    for part in ("product, parts of the logarithm of the score", "sum, parts of the score"):
        assert part in description


def test_an_id_is_documented_as_text_or_an_integer(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    kinds = {kind.get("type") for kind in schemas["Candidate"]["properties"]["id"]["anyOf"]}
    assert kinds == {"string", "integer"}
