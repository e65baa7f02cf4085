import json
import re
import socket

import pytest

from serving.app import create_app
from serving.http.auth import ApiKey, fresh_key, hashed
from serving.http.endpoints import ENDPOINTS, needed_role
from serving.http.roles import Role
from serving.settings import ServingSettings
from tests.serving.conftest import serving
from tests.serving.http.test_problems import check_problem

KEY = fresh_key()
BODY = {"user": {"id": "u"}, "candidates": [{"id": "a"}, {"id": "b"}]}


@pytest.fixture(scope="module")
def app(registry):
    """The service with a key, and with a Redis whose URL holds a password and that does not answer."""
    key = ApiKey(name="ops", role=Role.ADMIN, sha256=hashed(KEY))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"redis://someone:pass-word@127.0.0.1:{closed.getsockname()[1]}"
        yield create_app(ServingSettings(registry=registry, redis_url=url, api_keys=[key]))


@pytest.fixture(scope="module")
def client(app):
    with serving(app) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield client


def test_every_path_of_the_service_is_in_the_list_of_endpoints(app):
    undocumented = {"/docs", "/docs/swagger-ui.js", "/docs/swagger-ui.css", "/openapi.json"}
    assert set(app.openapi()["paths"]) | undocumented == set(ENDPOINTS)


def test_every_path_but_the_open_ones_wants_a_key(client):
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            response = client.request(method, path, headers={"Authorization": ""})
            if needed_role(path) is None:
                assert response.status_code != 401
                assert "security" not in operation
            else:
                check_problem(response, 401, "unauthenticated")
                assert operation["security"] == [{"key": []}]
                assert {"401", "403"} <= set(operation["responses"])


def test_the_interface_describes_overload_and_deadlines(client):
    operation = client.get("/openapi.json").json()["paths"]["/v1/rank"]["post"]
    assert {"408", "503"} <= set(operation["responses"])
    assert "X-Timeout-Ms" in [parameter["name"] for parameter in operation["parameters"]]


def test_without_keys_the_interface_asks_for_none(registry):
    document = create_app(ServingSettings(registry=registry, redis_url="redis://127.0.0.1:1")).openapi()
    assert "security" not in json.dumps(document)


def test_without_redis_rankings_go_on_and_nothing_tells_a_secret(client, caplog):
    answers = []
    for method, path, body in [
        ("POST", "/v1/rank", BODY),
        ("POST", "/v1/rank", {**BODY, "candidates": 1}),
        ("PUT", "/v1/users", {"id": "1", "features": {"age": 1}}),
        ("PUT", "/v1/videos", {"id": "1", "features": {"duration_s": 1}}),
        ("GET", "/readyz", None),
        ("GET", "/metrics", None),
        ("GET", "/v1/model", None),
        ("GET", "/nowhere", None),
    ]:
        response = client.request(method, path, json=body)
        assert response.status_code != 500, response.text
        answers += [response.text, str(response.headers)]
    revealed = "".join(answers) + caplog.text
    for secret in ("pass-word", "Traceback", 'File "', KEY, hashed(KEY)):
        assert secret not in revealed
    assert json.loads(answers[0])["degraded"] == ["feature_store"]


def test_a_rankings_phases_are_all_timed(client):
    client.post("/v1/rank", json=BODY)
    text = client.get("/metrics").text
    counts = dict(re.findall(r'watchnext_phase_seconds_count{phase="(\w+)"} (\S+)', text))
    assert set(counts) == {"validate", "features", "queue", "model", "score", "impression", "respond"}
    assert counts.pop("impression") == "0.0"  # they are off
    assert all(float(count) > 0 for count in counts.values()), counts
