import asyncio
import json
import time
from contextlib import suppress

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from serving.http import middleware, protocol, reading_gate
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

    @app.post("/v1/users")
    async def echo(request: Request):
        return {"body": (await request.body()).decode(), "headers": request.headers.keys()}

    @app.put("/v1/users")
    async def refuse():
        return JSONResponse({}, status_code=503)

    @app.get("/v1/model")
    async def slow():
        await asyncio.sleep(0.5)
        return {}

    with serving(app) as client:
        yield client


def head(*headers, first=b"GET /healthz HTTP/1.1"):
    return b"\r\n".join([first, b"Host: localhost", *headers, b"", b""])


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


ECHO = b"POST /v1/users HTTP/1.1"
UPGRADE = (
    b"Connection: Upgrade, HTTP2-Settings",
    b"Upgrade: h2c",
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA",
)


@pytest.mark.parametrize("piece", [1, 7, 10_000])
@pytest.mark.parametrize(
    "body",
    [(b"Content-Length: 5", b"hello"), (b"Transfer-Encoding: chunked", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")],
)
@pytest.mark.parametrize("upgrade", [UPGRADE, (b"Connection: upgrade", b"Upgrade: websocket")])
def test_a_request_to_upgrade_is_answered_in_http_1_1_with_its_body(client, upgrade, body, piece):
    """The JDK's client sends one with its first request."""
    length, content = body
    sent = head(*upgrade, length, first=ECHO) + content + head() + head(*upgrade) + head()
    with connected(client) as connection:
        for start in range(0, len(sent), piece):
            connection.sendall(sent[start : start + piece])
        status, headers, answer = read_answer(connection)
        assert status == 200
        assert json.loads(answer)["body"] == "hello"
        assert "upgrade" not in json.loads(answer)["headers"]
        assert "upgrade" not in headers
        for _ in range(3):  # the connection stays of use, for further ones too
            assert read_answer(connection)[0] == 200


def test_no_tunnel_is_made(client):
    with connected(client) as connection:
        connection.sendall(b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\nabc")
        check_refusal(connection, 400, "malformed")


@pytest.mark.parametrize(
    "headers",
    [[], [b"Host: localhost", b"Host: localhost"], [b"Host: localhost", b"hOST: evil.example"]],
    ids=len,
)
def test_one_host_is_expected(client, headers):
    with connected(client) as connection:
        connection.sendall(b"\r\n".join([b"GET /healthz HTTP/1.1", *headers, b"", b""]))
        check_refusal(connection, 400, "malformed")


def test_http_1_0_needs_no_host_to_be_understood(client):
    with connected(client) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert read_answer(connection)[0] == 421  # but without one it is not to this machine


CHUNKED = head(b"Transfer-Encoding: chunked", first=ECHO) + b"2\r\nhi\r\n0\r\n"


def test_trailers_are_read_and_are_no_headers(client):
    with connected(client) as connection:
        for _ in range(2):
            connection.sendall(CHUNKED + b"Authorization: Bearer x\r\nX-Late: 1\r\n\r\n")
            status, _, answer = read_answer(connection)
            assert status == 200
            assert json.loads(answer)["body"] == "hi"
            assert not {"authorization", "x-late"} & set(json.loads(answer)["headers"])


@pytest.mark.parametrize("trailers", [b"a: b\r\n" * 200, b"a: " + b"b" * 70_000])
def test_trailers_beyond_the_limits_of_a_head_are_refused(client, trailers):
    with connected(client) as connection:
        connection.sendall(CHUNKED + trailers)
        check_refusal(connection, 431, "headers-too-large")


def send_until_closed(connection, part, most):
    """Send the same bytes again and again; give how many were sent when the server closed the connection."""
    sent = 0
    with suppress(ConnectionError):
        while sent < most:
            connection.sendall(part)
            sent += len(part)
    return sent


NOBODYS = b"POST /nowhere HTTP/1.1"


@pytest.mark.parametrize("part", [b"a: b\r\n" * 1000, b"a" * 1000 + b": b\r\n"], ids=["many", "long"])
def test_trailers_after_an_early_answer_do_not_go_on_for_ever(client, part):
    with connected(client) as connection:
        connection.sendall(head(b"Transfer-Encoding: chunked", first=NOBODYS))
        assert read_answer(connection)[0] == 404
        connection.sendall(b"0\r\n")
        assert send_until_closed(connection, part, 100_000_000) < 100_000_000


def test_a_body_after_an_early_answer_does_not_go_on_for_ever(client, monkeypatch):
    monkeypatch.setattr(protocol, "MAX_REST_BYTES", 100_000)
    with connected(client) as connection:
        connection.sendall(head(b"Content-Length: 1000000000", first=NOBODYS))
        assert read_answer(connection)[0] == 404
        assert send_until_closed(connection, b"x" * 10_000, 100_000_000) < 100_000_000


def test_the_rest_of_a_request_that_was_answered_is_not_waited_for_long(client, monkeypatch):
    monkeypatch.setattr(protocol, "REST_TIMEOUT_S", 0.05)
    with connected(client) as connection:
        connection.sendall(head(b"Content-Length: 10", first=NOBODYS))
        assert read_answer(connection)[0] == 404
        assert is_closed(connection)


def test_after_the_rest_of_a_request_has_come_its_connection_goes_on(client, monkeypatch):
    monkeypatch.setattr(protocol, "REST_TIMEOUT_S", 1.0)
    with connected(client) as connection:
        connection.sendall(head(b"Content-Length: 10", first=NOBODYS))
        assert read_answer(connection)[0] == 404
        connection.sendall(b"x" * 10)
        time.sleep(1.3)
        connection.sendall(head())
        assert read_answer(connection)[0] == 200


def test_of_what_came_at_once_a_part_is_parsed_at_a_time(client, monkeypatch):
    monkeypatch.setattr(reading_gate, "PART_BYTES", 10)
    parts = []
    feed = protocol.BoundedHttpProtocol._feed
    monkeypatch.setattr(
        protocol.BoundedHttpProtocol, "_feed", lambda self, data: parts.append(len(data)) or feed(self, data)
    )
    body = bytes(range(33, 127)) * 300
    with connected(client) as connection:
        for _ in range(2):
            length = b"Content-Length: %d" % len(body)
            connection.sendall(head(length, first=ECHO) + body + head())
            assert json.loads(read_answer(connection)[2])["body"] == body.decode()
            assert read_answer(connection)[0] == 200
    assert max(parts) == 10


def test_requests_sent_at_once_do_not_fill_the_memory(client, monkeypatch):
    """No more are parsed until those that were are answered."""
    monkeypatch.setattr(reading_gate, "PART_BYTES", 200)  # some five requests
    waiting = []
    begin = protocol.BoundedHttpProtocol.on_message_begin
    monkeypatch.setattr(
        protocol.BoundedHttpProtocol,
        "on_message_begin",
        lambda self: waiting.append(len(self.pipeline)) or begin(self),
    )
    with connected(client) as connection:
        connection.sendall(head() * 200)
        for _ in range(200):
            assert read_answer(connection)[0] == 200
    assert max(waiting) < 12


def test_after_a_refusal_a_connection_is_not_read_for_a_while(client, monkeypatch):
    """A client that asks again at once, in a loop, would take most of the event loop's time."""
    monkeypatch.setattr(protocol, "REFUSED_PAUSE_S", 3.0)
    with connected(client) as refused, connected(client) as other:
        refused.sendall(head(first=b"PUT /v1/users HTTP/1.1"))
        assert read_answer(refused)[0] == 503
        refused.sendall(head())
        refused.settimeout(0.1)
        with pytest.raises(TimeoutError):
            refused.recv(1)
        other.sendall(head())
        assert read_answer(other)[0] == 200
        refused.settimeout(60)
        assert read_answer(refused)[0] == 200
