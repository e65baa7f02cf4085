import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from serving.http import json_body, middleware
from serving.http.json_body import MAX_DIGITS, MAX_VALUES, JsonRoute
from serving.settings import ServingSettings
from tests.serving.conftest import serving
from tests.serving.http.test_problems import check_problem
from tests.serving.raw_http import connected, is_closed, read_answer

HEAD = (
    b"POST /v1/rank HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 8\r\n\r\n"
)


class Body(BaseModel):
    a: int


@pytest.fixture(scope="module")
def client():
    app = FastAPI()
    settings = ServingSettings(registry="", redis_url="", body_timeout_s=0.5, max_waiting_candidates=1)
    middleware.install(app, settings)
    router = APIRouter(route_class=JsonRoute)

    @router.post("/v1/rank")
    async def rank(body: Body) -> Body:
        return body

    @router.put("/v1/users")
    async def put(body: Body) -> Body:
        return body

    @router.put("/v1/videos")
    async def put_long(body: LongBody) -> LongBody:
        return body

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {}

    app.include_router(router)
    with serving(app) as client:
        yield client


def test_a_body_that_does_not_come_is_a_408_and_makes_room(client):
    with connected(client) as connection:
        connection.sendall(HEAD + b'{"a"')
        status, headers, body = read_answer(connection)
        assert status == 408
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(body)["type"] == "urn:watchnext:body-too-slow"
        assert json.loads(body)["detail"] == "expected the whole body within 0.5 s"
        assert is_closed(connection)
    assert client.post("/v1/rank", json={"a": 1}).status_code == 200


def test_a_body_that_comes_in_pieces_is_read(client):
    with connected(client) as connection:
        for piece in (HEAD, b'{"a"', b": 1}"):
            connection.sendall(piece)
        assert read_answer(connection)[0] == 200


@pytest.mark.parametrize("path", ["/v1/rank", "/v1/users"])
@pytest.mark.parametrize(
    "content",
    [
        b"[" + b",".join([b"1"] * (MAX_VALUES + 1)) + b"]",
        b'{"a": [' + b",".join([b"{}"] * MAX_VALUES) + b"]}",
        b"[" * (MAX_VALUES + 1),
    ],
    ids=["values", "objects", "nesting"],
)
def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(client, monkeypatch, path, content):
    monkeypatch.setattr(json_body, "from_json", None)
    method = "POST" if path == "/v1/rank" else "PUT"
    answer = client.request(method, path, content=content, headers={"Content-Type": "application/json"})
    document = check_problem(answer, 413, "body-too-large")
    assert f"at most {MAX_VALUES} values" in document["detail"]


def test_a_body_of_as_many_values_as_may_be_is_parsed(client):
    content = b'{"a": [' + b",".join([b"1"] * (MAX_VALUES - 1)) + b"]}"
    answer = client.post("/v1/rank", content=content, headers={"Content-Type": "application/json"})
    assert check_problem(answer, 422, "invalid-request")["errors"][0]["pointer"] == "/a"


def test_the_event_loop_goes_on_while_a_long_body_is_validated(client, monkeypatch):
    """A model that is validated in steps lets others be answered between them."""
    monkeypatch.setattr("serving.http.turns.SLICE_S", -1)
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(client.put, "/v1/videos", json={})
        assert LongBody.begun.wait(60)
        assert client.get("/healthz").status_code == 200
        LongBody.go.set()
        assert asked.result().status_code == 200


class LongBody(BaseModel):
    """A body whose validation goes on until it is let go."""

    begun: ClassVar = threading.Event()
    go: ClassVar = threading.Event()

    @classmethod
    def in_steps(cls, document):
        cls.begun.set()
        deadline = time.monotonic() + 60
        while not cls.go.is_set():
            assert time.monotonic() < deadline
            yield
        return cls()


@pytest.mark.parametrize("body", [b'{"b": %b}', b'{"b": "%b"}'], ids=["number", "text"])
@pytest.mark.parametrize(("digits", "status"), [(MAX_DIGITS, 422), (MAX_DIGITS + 1, 413)])
def test_numbers_have_a_bounded_number_of_digits(client, body, digits, status):
    kind = "body-too-large" if status == 413 else "invalid-request"
    headers = {"Content-Type": "application/json"}
    check_problem(client.put("/v1/users", content=body % (b"7" * digits), headers=headers), status, kind)
