from tests.serving.small_ranker import SPEC


def test_the_model_is_described(client):
    model = client.get("/v1/model").json()
    assert model["model_version"].startswith("small-1-")
    assert model["spec"] == "small"
    assert model["watermark_ms"] == 1_690_000_000_000
    assert model["metrics"] == {"click": {"auc": 0.7}}
    assert [feature["name"] for feature in model["features"]] == [feature.name for feature in SPEC.features]
    assert {"name": "query_topic", "column": "query_topic", "side": "query", "kind": "category"} in model[
        "features"
    ]
    assert {"name": "watch_time", "group": "engagement", "kind": "regression", "unit": "s"} in model["tasks"]
    assert [term["head"] for term in model["score"]["terms"]] == ["click", "watch_time", "like"]


def test_the_score_version_of_the_model_is_that_of_the_rankings(client):
    body = {"user": {"id": "u"}, "candidates": [{"id": "a"}]}
    ranking = client.post("/v1/rank", json=body).json()
    model = client.get("/v1/model").json()
    assert ranking["score_version"] == model["score_version"]
    assert ranking["model_version"] == model["model_version"]


def test_the_service_is_ready_with_redis(client):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"


def test_the_service_lives_but_is_not_ready_without_redis(client_without_redis):
    assert client_without_redis.get("/healthz").json() == {"status": "ok"}
    answer = client_without_redis.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "Redis" in answer.json()["detail"]


def test_the_interface_is_documented(client):
    assert client.get("/docs").status_code == 200
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for schema in ("RankRequest", "RankResponse", "RankedVideo", "Candidate"):
        for name, field in schemas[schema]["properties"].items():
            assert "description" in field, f"{schema}.{name}"
