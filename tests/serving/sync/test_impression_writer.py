"""A Redis that goes away and comes back while impressions are written."""

import pytest

from serving.app import create_app
from serving.settings import ImpressionMode, ServingSettings
from serving.sync import impression_writer as module
from tests.serving.asking import rank
from tests.serving.conftest import serving
from tests.serving.event_log import columns, impressions, request_ids
from tests.serving.metric_value import metric_value
from tests.serving.waiting import wait_until

BODY = {"user": {"id": "u"}, "context": {"hour": 7}, "candidates": [{"id": "a"}, {"id": "b"}]}
MODES = [ImpressionMode.SYNC, ImpressionMode.ASYNC]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "RETRY_S", 0.02)
    monkeypatch.setattr("serving.sync.circuit_breaker.PROBE_S", 0.02)


@pytest.fixture
def empty(server):
    with server.client() as client:
        client.flushall()


def count(app, outcome):
    return metric_value(app.state.metrics, f'watchnext_impressions_total{{outcome="{outcome}"}}')


def waiting(app):
    return metric_value(app.state.metrics, "watchnext_impressions_waiting")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("empties", [False, True], ids=["it keeps its data", "it loses its data"])
def test_what_waited_is_written_in_order_once_redis_is_back(registry, server, empty, quick, mode, empties):
    app = create_app(ServingSettings(registry=registry, redis_url=server.url, impressions=mode))
    with serving(app) as client:
        before = [rank(client, BODY)["request_id"] for _ in range(2)]
        wait_until(lambda: count(app, "written") == 2, "two impressions")
        server.kill()
        answers = [rank(client, BODY)]
        wait_until(lambda: count(app, "buffered") == 1, "the service to notice")
        answers += [rank(client, BODY) for _ in range(9)]
        late = answers if mode is ImpressionMode.SYNC else answers[1:]
        assert all("impressions" in answer["degraded"] for answer in late)
        assert (count(app, "buffered"), waiting(app)) == (10, 10)
        server.start(empty=empties)
        wait_until(lambda: waiting(app) == 0, "the impressions to be written")
        after = rank(client, BODY)
        wait_until(lambda: count(app, "written") == 13, "the last one")
    assert after["degraded"] == []
    kept = [] if empties else before
    expected = [*kept, *(answer["request_id"] for answer in answers), after["request_id"]]
    with server.client() as store:
        found = request_ids(store)
        assert list(dict.fromkeys(found)) == expected
        assert columns(store, impressions(store)[-1])[0]["hour"] == ["7"]


def test_an_impression_whose_call_was_not_answered_is_not_lost(registry, server, empty, quick):
    """It may be there twice, under one request id."""
    app = create_app(
        ServingSettings(
            registry=registry, redis_url=server.url, impressions=ImpressionMode.SYNC, redis_timeout_s=0.1
        )
    )
    with serving(app) as client:
        first = rank(client, BODY)["request_id"]
        server.stop()
        try:
            unanswered = rank(client, BODY)
        finally:
            server.go_on()
        assert "impressions" in unanswered["degraded"]
        wait_until(lambda: waiting(app) == 0, "the impression to be written")
    with server.client() as store:
        assert list(dict.fromkeys(request_ids(store))) == [first, unanswered["request_id"]]


@pytest.mark.parametrize("mode", MODES)
def test_beyond_the_buffer_impressions_are_dropped_and_counted(
    registry, server, empty, quick, mode, monkeypatch
):
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    app = create_app(ServingSettings(registry=registry, redis_url=server.url, impressions=mode))
    with serving(app) as client:
        server.kill()
        answers = [rank(client, BODY)["request_id"] for _ in range(8)]
        assert (count(app, "dropped"), waiting(app)) == (5, 3)
        server.start()
        wait_until(lambda: waiting(app) == 0, "the impressions to be written")
    with server.client() as store:
        assert request_ids(store) == answers[:3]


def test_an_answer_waits_no_longer_than_its_deadline_lets_it(registry, server, empty):
    app = create_app(
        ServingSettings(
            registry=registry, redis_url=server.url, impressions=ImpressionMode.SYNC, redis_timeout_s=30
        )
    )
    with serving(app) as client:
        rank(client, BODY)
        server.stop()
        try:
            answer = rank(client, {**BODY, "candidates": [{"id": "a"}], "timeout_ms": 2_000})
        finally:
            server.go_on()
        assert "impressions" in answer["degraded"]
        wait_until(lambda: waiting(app) == 0, "the impression to be written")
    with server.client() as store:
        assert answer["request_id"] in request_ids(store)


def test_the_end_of_the_service_does_not_wait_for_redis_for_long(
    registry, server, empty, quick, monkeypatch, caplog
):
    monkeypatch.setattr(module, "CLOSE_S", 0.2)
    app = create_app(
        ServingSettings(registry=registry, redis_url=server.url, impressions=ImpressionMode.SYNC)
    )
    server.kill()
    try:
        with serving(app) as client:
            rank(client, BODY)
        assert "1 impressions are lost" in caplog.text
        assert count(app, "dropped") == 1
    finally:
        server.start()


def test_a_redis_that_refuses_to_write_is_tried_again(registry, server, empty, quick):
    app = create_app(
        ServingSettings(registry=registry, redis_url=server.url, impressions=ImpressionMode.SYNC)
    )
    with serving(app) as client, server.client() as store:
        store.set("watchnext:events", "no stream")
        answers = [rank(client, BODY) for _ in range(3)]
        assert all("impressions" in answer["degraded"] for answer in answers)
        store.delete("watchnext:events")
        wait_until(lambda: waiting(app) == 0, "the impressions to be written")
        assert request_ids(store) == [answer["request_id"] for answer in answers]
