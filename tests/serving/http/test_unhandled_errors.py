import logging

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from ranker.errors import DeadlinePassedError, StoreError, WatchnextError
from serving.http import middleware
from serving.settings import ServingSettings
from tests.serving.conftest import serving
from tests.serving.http.test_problems import check_problem
from tests.serving.raw_http import connected

SECRET = "a secret of the inside"


@pytest.fixture(scope="module")
def client():
    """A client of an app with a defect of each kind, under /docs, which is open."""
    app = FastAPI(docs_url=None)
    middleware.install(app, ServingSettings(registry="", redis_url=""))
    errors = {
        "foreign": RuntimeError(SECRET),
        "own": WatchnextError("expected this, found that"),
        "memory": MemoryError(),
        "store": StoreError("redis://host:6379: expected an answer, found none"),
        "late": DeadlinePassedError("the deadline passed"),
    }

    @app.get("/half")
    def half():
        def body():
            yield b"half"
            raise RuntimeError(SECRET)

        return StreamingResponse(body(), headers={"Content-Length": "1000"})

    @app.get("/{kind}")
    def fail(kind: str):
        raise errors[kind]

    with serving(app) as client:
        yield client


@pytest.mark.parametrize("kind", ["foreign", "own", "memory"])
def test_a_defect_is_a_500_that_tells_nothing_of_the_inside(client, kind, caplog):
    caplog.set_level(logging.INFO)
    response = client.get(f"/{kind}")
    check_problem(response, 500, "internal-error")
    revealed = response.text + str(response.headers) + caplog.text
    assert SECRET not in revealed
    assert "Traceback" not in revealed
    assert response.headers["X-Request-ID"] in caplog.text
    assert "test_unhandled_errors.py" in caplog.text  # where it arose


def test_our_own_message_is_in_the_log_and_not_in_the_answer(client, caplog):
    response = client.get("/own")
    assert "expected this, found that" in caplog.text
    assert "expected this" not in response.text


def test_the_stack_is_in_the_log_for_whoever_asks_for_it(client, caplog):
    caplog.set_level(logging.DEBUG, "serving.http.unhandled_errors")
    client.get("/foreign")
    assert "Traceback" in caplog.text


def test_a_store_that_does_not_answer_is_a_503_that_does_not_say_where_it_is(client):
    response = client.get("/store")
    check_problem(response, 503, "store-unavailable")
    assert "6379" not in response.text
    assert response.headers["Retry-After"] == "1"


def test_a_passed_deadline_is_a_503_and_counted(client):
    response = client.get("/late")
    check_problem(response, 503, "deadline-passed")
    assert response.headers["Retry-After"] == "1"
    assert 'rejects_total{reason="deadline"} 1.0' in client.get("/metrics").text


def test_half_an_answer_is_not_completed(client):
    with connected(client) as connection:
        connection.sendall(b"GET /half HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while part := connection.recv(65536):
            received += part
    assert received.endswith(b"half")
