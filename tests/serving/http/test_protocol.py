import asyncio
import json

import pytest
from fastapi import FastAPI

from serving.http import middleware, protocol
from serving.settings import ServingSettings
from tests.serving.conftest import serving
from tests.serving.raw_http import connected, is_closed, read_answer


@pytest.fixture(scope="module")
def client():
    app = FastAPI()
    middleware.install(app, ServingSettings(registry="", redis_url=""))

    @app.get("/healthz")
    @app.post("/v1/rank")
    def answer():
        return {}

    @app.get("/v1/model")
    async def slow():
        await asyncio.sleep(0.5)
        return {}

    with serving(app) as client:
        yield client


def head(*headers, first=b"GET /healthz HTTP/1.1"):
    return b"\r\n".join([first, b"Host: x", *headers, b"", b""])


def check_refusal(connection, status, slug):
    found, headers, body = read_answer(connection)
    document = json.loads(body)
    assert found == document["status"] == status
    assert document["type"] == f"urn:watchnext:{slug}"
    assert document["request_id"] == headers["x-request-id"]
    assert headers["content-type"] == "application/problem+json"
    assert is_closed(connection)


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00"]
)
def test_what_is_not_http_is_a_400(client, sent):
    with connected(client) as connection:
        connection.sendall(sent)
        check_refusal(connection, 400, "malformed")


@pytest.mark.parametrize(
    "too_large",
    [
        head(b"X: " + b"x" * 17_000),
        head(*[b"X: x"] * 101),
        head(first=b"GET /healthz?" + b"x" * 17_000 + b" HTTP/1.1"),
        head(b"X: " + b"x" * 17_000)[:-4],  # the end never comes
        b"GET /" + b"x" * 17_000,
    ],
    ids=["one header", "many headers", "url", "unfinished header", "unfinished url"],
)
def test_a_head_beyond_the_limits_is_a_431(client, too_large):
    with connected(client) as connection:
        connection.sendall(too_large)
        check_refusal(connection, 431, "headers-too-large")


def test_a_second_head_on_a_connection_is_bounded_like_the_first(client):
    with connected(client) as connection:
        for _ in range(3):
            connection.sendall(head(b"X: " + b"x" * 10_000))
            assert read_answer(connection)[0] == 200
        connection.sendall(head(b"X: " + b"x" * 17_000))
        check_refusal(connection, 431, "headers-too-large")


def test_a_large_body_is_no_large_head(client):
    with connected(client) as connection:
        for _ in range(2):
            length = b"Content-Length: 100000"
            connection.sendall(head(length, first=b"POST /v1/rank HTTP/1.1") + b"x" * 100_000)
            assert read_answer(connection)[0] == 200


def test_a_head_at_the_limits_is_read(client):
    with connected(client) as connection:
        connection.sendall(head(*[b"X: " + b"x" * 100] * 99))
        assert read_answer(connection)[0] == 200


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HT"])
def test_a_connection_that_brings_no_head_is_closed(client, monkeypatch, begun):
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.05)
    with connected(client) as connection:
        connection.sendall(begun)
        assert is_closed(connection)


def test_the_time_for_a_head_does_not_run_while_the_request_is_worked_on(client, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.05)
    with connected(client) as connection:
        connection.sendall(head(first=b"GET /v1/model HTTP/1.1"))
        assert read_answer(connection)[0] == 200
