import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from fastapi import FastAPI, Request

from serving.http import middleware, protocol
from serving.http.admission import Admission
from serving.http.auth import ApiKey, fresh_key, hashed
from serving.http.deadline import NO_DEADLINE, NO_TIMEOUT
from serving.http.metrics import Metrics
from serving.http.problems import Problem
from serving.http.roles import Role
from serving.http.service_time import REQUEST_COST, ServiceTime, cost_of
from serving.settings import ServingSettings
from tests.serving.conftest import serving
from tests.serving.http.test_problems import check_problem
from tests.serving.raw_http import connected, read_answer

MAX_WAITING = 3
HEAD = b"POST /v1/rank HTTP/1.1\r\nHost: localhost\r\n"


class Kitchen:
    """An app whose ranking requests wait until they are let go."""

    def __init__(self, keys=()):
        self.app = FastAPI()
        room = MAX_WAITING * REQUEST_COST
        settings = ServingSettings(registry="", redis_url="", max_waiting_candidates=room, api_keys=keys)
        middleware.install(self.app, settings)
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()

        @self.app.post("/v1/rank")
        def rank():
            self.entered.release()
            assert self.go.wait(60)
            return {}

        @self.app.get("/v1/model")
        def other():
            return {}


@pytest.fixture
def kitchen():
    """A kitchen, and a client; whoever is still waiting at the end is let go."""
    kitchen = Kitchen()
    with serving(kitchen.app) as client, ThreadPoolExecutor() as threads:
        kitchen.client = client
        kitchen.ask = lambda: threads.submit(client.post, "/v1/rank")
        yield kitchen
        kitchen.go.set()


def fill(kitchen):
    asked = [kitchen.ask() for _ in range(MAX_WAITING)]
    for _ in asked:
        assert kitchen.entered.acquire(timeout=60)
    return asked


def test_as_many_as_may_wait_wait_and_one_more_is_told_to_come_back(kitchen):
    asked = fill(kitchen)
    response = kitchen.client.post("/v1/rank")
    document = check_problem(response, 503, "overloaded")
    assert f"at most {MAX_WAITING * REQUEST_COST} candidates" in document["detail"]
    assert response.headers["Retry-After"] == "1"
    kitchen.go.set()
    assert [future.result().status_code for future in asked] == [200] * MAX_WAITING
    assert kitchen.client.post("/v1/rank").status_code == 200  # there is room again


@pytest.mark.parametrize(
    "unusual",
    [
        {"headers": {"Connection": "close"}},
        {"params": {"a": "b"}},
        {"headers": {"Expect": "100-continue"}},
        {"headers": {"Connection": "upgrade", "Upgrade": "h2c"}},
    ],
    ids=str,
)
def test_an_unusual_request_gets_the_same_answer(kitchen, unusual):
    fill(kitchen)
    usual = kitchen.client.post("/v1/rank").json()
    answer = kitchen.client.post("/v1/rank", **unusual)
    document = check_problem(answer, 503, "overloaded")
    assert {**document, "request_id": 0} == {**usual, "request_id": 0}
    assert answer.headers["Retry-After"] == "1"


def test_every_refusal_has_a_name_of_its_own(kitchen):
    fill(kitchen)
    names = [kitchen.client.post("/v1/rank").headers["X-Request-ID"] for _ in range(3)]
    assert len(set(names)) == 3


def test_other_paths_are_answered_while_ranking_is_full(kitchen):
    fill(kitchen)
    assert kitchen.client.get("/v1/model").status_code == 200


def test_a_refusal_does_not_wait_for_the_body_and_the_connection_stays_of_use(kitchen):
    fill(kitchen)
    with connected(kitchen.client) as connection:
        connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 50_000)
        assert read_answer(connection)[0] == 503
        connection.sendall(b"x" * 50_000 + b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_answer(connection)[0] == 200


def test_who_asks_again_at_once_after_a_refusal_is_read_a_little_later(kitchen, monkeypatch):
    monkeypatch.setattr(protocol, "REFUSED_PAUSE_S", 0.3)
    fill(kitchen)
    with connected(kitchen.client) as connection:
        begun = time.perf_counter()
        for _ in range(2):
            connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000)
            assert read_answer(connection)[0] == 503
        assert time.perf_counter() - begun >= 0.3
        assert kitchen.client.get("/v1/model").status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says when bytes came")
def test_a_deadline_is_counted_from_a_requests_coming_though_it_was_read_later(kitchen, monkeypatch):
    """Who asks again at once after a refusal would otherwise be answered after its deadline."""
    monkeypatch.setattr(protocol, "REFUSED_PAUSE_S", 0.3)
    asked = fill(kitchen)
    with connected(kitchen.client) as connection:
        connection.sendall(HEAD + b"Content-Length: 0\r\n\r\n")
        assert read_answer(connection)[0] == 503
        kitchen.go.set()
        assert [future.result().status_code for future in asked] == [200] * MAX_WAITING
        connection.sendall(HEAD + b"X-Timeout-Ms: 150\r\nContent-Length: 0\r\n\r\n")
        status, _, body = read_answer(connection)
        assert (status, json.loads(body)["type"]) == (503, "urn:watchnext:deadline-passed")


def test_refusals_keep_their_turn_among_requests_sent_at_once(kitchen):
    with connected(kitchen.client) as connection:
        connection.sendall(HEAD + b"Content-Length: 0\r\n\r\n")
        assert kitchen.entered.acquire(timeout=60)
        for _ in range(MAX_WAITING - 1):
            kitchen.ask()
            assert kitchen.entered.acquire(timeout=60)
        connection.sendall(HEAD + b"Content-Length: 0\r\n\r\n")
        kitchen.go.set()
        assert [read_answer(connection)[0] for _ in range(2)] == [200, 200]


def test_refusals_are_counted(kitchen):
    fill(kitchen)
    for _ in range(2):
        kitchen.client.post("/v1/rank")
    kitchen.client.post("/v1/rank?slow=1")
    text = kitchen.client.get("/metrics").text
    assert 'watchnext_rejects_total{reason="overloaded"} 3.0' in text
    assert 'watchnext_requests_total{path="/v1/rank",status="503"} 3.0' in text


def test_heads_whose_bodies_do_not_come_take_no_room(kitchen):
    with ExitStack() as stack:
        for _ in range(10 * MAX_WAITING):
            connection = stack.enter_context(connected(kitchen.client))
            connection.sendall(HEAD + b"Content-Length: 8\r\n\r\n{")
        asked = fill(kitchen)
        kitchen.go.set()
        assert [future.result().status_code for future in asked] == [200] * MAX_WAITING
        connection.sendall(b'"a": 1}')
        assert read_answer(connection)[0] == 200


def test_a_body_that_comes_when_there_is_no_room_any_more_is_refused(kitchen):
    with connected(kitchen.client) as connection:
        connection.sendall(HEAD + b"Content-Length: 1\r\n\r\n")
        assert kitchen.client.get("/v1/model").status_code == 200  # by now the head was read
        fill(kitchen)
        connection.sendall(b"1")
        status, headers, _ = read_answer(connection)
        assert (status, headers["retry-after"]) == (503, "1")


def test_a_body_that_comes_after_the_deadline_is_not_looked_at(kitchen):
    with connected(kitchen.client) as connection:
        connection.sendall(HEAD + b"X-Timeout-Ms: 50\r\nContent-Length: 1\r\n\r\n")
        assert kitchen.client.get("/v1/model").status_code == 200  # by now the head was read
        time.sleep(0.1)
        connection.sendall(b"1")
        status, _, body = read_answer(connection)
        assert (status, json.loads(body)["type"]) == (503, "urn:watchnext:deadline-passed")
    assert 'watchnext_rejects_total{reason="deadline"} 1.0' in kitchen.client.get("/metrics").text
    assert not kitchen.entered.acquire(blocking=False)


def test_the_requests_of_one_key_do_not_keep_another_keys_out():
    keys = {name: fresh_key() for name in ("flood", "small")}
    known = [ApiKey(name=name, role=Role.ADMIN, sha256=hashed(key)) for name, key in keys.items()]
    kitchen = Kitchen(known)
    with serving(kitchen.app) as client, ThreadPoolExecutor() as threads:

        def ask(scheme, name):
            return threads.submit(
                client.post, "/v1/rank", headers={"Authorization": f"{scheme} {keys[name]}"}
            )

        try:
            asked = [ask("Bearer", "flood") for _ in range(MAX_WAITING)]
            for _ in asked:
                assert kitchen.entered.acquire(timeout=60)
            for scheme in ("Bearer", "bearer ", "BEARER"):  # however it is written, it is one key
                assert ask(scheme, "flood").result().status_code == 503
            asked.append(ask("Bearer", "small"))
            assert kitchen.entered.acquire(timeout=60)
        finally:
            kitchen.go.set()
        assert [future.result().status_code for future in asked] == [200] * len(asked)


@pytest.fixture
def counter():
    """Admission with room for 20 requests of 500 candidates, whose bodies have 30 bytes a candidate."""
    admission = Admission(20 * int(cost_of(500)), Metrics(frozenset()), ServiceTime())
    for _ in range(200):
        ticket = admission.enter("first", 15_000, NO_DEADLINE)
        admission.confirm(ticket, 15_000, 500, NO_DEADLINE)
        admission.leave(ticket)
    return admission


def length(size):
    return [(b"content-length", str(size).encode())]


def test_before_a_body_is_read_its_size_tells_what_it_costs(counter):
    for client in range(20):
        counter.enter(client, 15_000, NO_DEADLINE)
    assert counter.is_full("large", length(15_000), NO_TIMEOUT)
    assert not counter.is_full("small", length(300), NO_TIMEOUT)
    assert not counter.is_full("of no declared size", [], NO_TIMEOUT)


def test_a_body_with_more_candidates_than_its_size_told_is_refused_where_there_is_no_room(counter):
    for client in range(20):
        counter.enter(client, 15_000, NO_DEADLINE)
    dense = counter.enter("dense", 3_000, NO_DEADLINE)
    with pytest.raises(Problem, match="candidates to wait"):
        counter.confirm(dense, 3_000, 1_000, NO_DEADLINE)
    counter.leave(dense)
    assert counter.in_flight == 20


def test_a_body_with_fewer_candidates_makes_room(counter):
    for client in range(20):
        ticket = counter.enter(client, 15_000, NO_DEADLINE)
        counter.confirm(ticket, 15_000, 10, NO_DEADLINE)
    assert not counter.is_full("large", length(15_000), NO_TIMEOUT)


def test_a_failed_request_makes_room():
    app = FastAPI()
    middleware.install(app, ServingSettings(registry="", redis_url="", max_waiting_candidates=1))

    @app.post("/v1/rank")
    def rank():
        raise RuntimeError

    with serving(app) as client:
        assert [client.post("/v1/rank").status_code for _ in range(3)] == [500] * 3


@pytest.fixture(scope="module")
def deadlines():
    """A client of an app that answers with the seconds between the request's coming and its deadline."""
    app = FastAPI()
    middleware.install(app, ServingSettings(registry="", redis_url=""))

    @app.post("/v1/rank")
    def rank(request: Request):
        after = request.state.deadline - request.state.started
        return {"after": None if after == NO_TIMEOUT else after}

    with serving(app) as client:
        yield client


@pytest.mark.parametrize(("header", "seconds"), [(None, None), ("900", 0.9), ("60000", 60.0)])
def test_a_deadline_is_counted_from_the_requests_coming(deadlines, header, seconds):
    headers = {} if header is None else {"X-Timeout-Ms": header}
    answer = deadlines.post("/v1/rank", headers=headers)
    assert answer.json() == {"after": pytest.approx(seconds, abs=1e-6)}


def test_a_deadline_of_a_millisecond_is_one(deadlines):
    answer = deadlines.post("/v1/rank", headers={"X-Timeout-Ms": "1"})
    if answer.status_code != 200:  # the machine was busy
        check_problem(answer, 503, "deadline-passed")


@pytest.mark.parametrize("header", ["", "0", "-1", "1.5", "1e3", "60001", "9" * 400, "soon", "²"])
def test_a_deadline_that_is_none_is_a_422(deadlines, header):
    answer = deadlines.post("/v1/rank", headers={"X-Timeout-Ms": header.encode("latin-1", "replace")})
    document = check_problem(answer, 422, "invalid-request")
    assert document["detail"] == "X-Timeout-Ms: expected an integer from 1 to 60000"
