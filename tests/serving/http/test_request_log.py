import json
import logging

import pytest
from fastapi import FastAPI, Request

from serving.http import middleware
from serving.http.auth import ApiKey, hashed
from serving.http.roles import Role
from serving.logs import JsonFormatter
from serving.settings import ServingSettings
from tests.serving.conftest import serving
from tests.serving.http.test_trace_context import TRACE, VALID

KEYS = [ApiKey(name="shop", role=Role.WRITE, sha256=hashed("secret"))]


def app_with(**settings):
    app = FastAPI()
    middleware.install(app, ServingSettings(registry="", redis_url="", **settings))

    @app.delete("/v1/users/{id:path}")
    async def delete(id: str):
        logging.getLogger("inside").warning("one is deleted")

    @app.post("/v1/rank")
    async def rank(request: Request):
        raise RuntimeError

    return app


@pytest.fixture(scope="module")
def client():
    with serving(app_with(request_log=True, api_keys=KEYS)) as client:
        client.headers["Authorization"] = "Bearer secret"
        yield client


@pytest.fixture
def lines(caplog):
    """What is logged, as JSON."""
    caplog.set_level(logging.INFO)
    formatted = []

    class Collect(logging.Handler):
        def emit(self, record):
            formatted.append(json.loads(JsonFormatter().format(record)))

    handler = Collect()
    logging.getLogger().addHandler(handler)
    yield formatted
    logging.getLogger().removeHandler(handler)


def of_requests(lines):
    return [line for line in lines if line["logger"] == "serving.http.request_log"]


def test_every_answer_is_a_line_without_ids_and_keys(client, lines):
    answer = client.delete("/v1/users/some%2Fone")
    [line] = of_requests(lines)
    assert (line["method"], line["path"], line["status"]) == ("DELETE", "/v1/users/{id}", 200)
    assert (line["key"], line["request_id"]) == ("shop", answer.headers["X-Request-ID"])
    assert line["took_ms"] >= 0
    assert (
        f"request_id={line['request_id']} method=DELETE path=/v1/users/{{id}} status=200" in line["message"]
    )
    assert "some" not in json.dumps(line)
    assert "secret" not in json.dumps(line)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "said"),
    [
        ("GET", "/no%0Awhere", {}, 403, "other"),  # paths that nobody listed are for admins
        ("POST", "/v1/rank", {}, 500, "/v1/rank"),
        ("POST", "/v1/rank", {"Authorization": "Bearer no"}, 401, "/v1/rank"),
    ],
)
def test_answers_of_every_kind_are_logged(client, lines, method, path, headers, status, said):
    client.request(method, path, headers=headers)
    [line] = of_requests(lines)
    assert line["path"] == said
    assert line["status"] == status


def test_lines_of_one_request_have_its_ids_and_its_trace(client, lines):
    answer = client.delete("/v1/users/x", headers={"traceparent": VALID})
    inside = next(line for line in lines if line["logger"] == "inside")
    [line] = of_requests(lines)
    for each in (inside, line):
        assert each["request_id"] == answer.headers["X-Request-ID"]
        assert each["trace_id"] == TRACE
        assert each["span_id"] in answer.headers["traceresponse"]
    client.delete("/v1/users/x")
    assert "trace_id" not in of_requests(lines)[-1]


def test_without_the_setting_answers_are_not_logged(lines):
    with serving(app_with()) as client:
        client.delete("/v1/users/x")
    assert of_requests(lines) == []
