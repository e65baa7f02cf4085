import json

import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from serving.http import middleware
from serving.http.json_body import JsonRoute
from serving.settings import ServingSettings
from tests.serving.conftest import serving
from tests.serving.raw_http import connected, is_closed, read_answer

HEAD = b"POST /v1/rank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n"


class Body(BaseModel):
    a: int


@pytest.fixture(scope="module")
def client():
    app = FastAPI()
    middleware.install(app, ServingSettings(registry="", redis_url="", body_timeout_s=0.5, max_waiting=1))
    router = APIRouter(route_class=JsonRoute)

    @router.post("/v1/rank")
    async def rank(body: Body) -> Body:
        return body

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
