"""Events: which are taken, which are set aside, and what is written of them."""

import json
import math

import pytest

from ranker.labels.regression import RegressionTask
from ranker.store.keys import events_key
from ranker.stream.feedback import Event, Reason
from ranker.stream.rejected import latest_rejected, rejected_counts
from serving.app import create_app
from serving.feedback import checked
from serving.http.auth import ApiKey, fresh_key, hashed
from serving.http.roles import Role
from serving.http.turns import at_once
from serving.settings import AtMaxEvents, ImpressionMode, ServingSettings
from serving.sync import impression_writer
from tests.serving.asking import rank
from tests.serving.conftest import serving
from tests.serving.event_log import calls, entries, request_ids
from tests.serving.http.test_problems import check_problem
from tests.serving.metric_value import metric_value
from tests.serving.small_ranker import SPEC
from tests.serving.waiting import wait_until

NOW_MS = 1_790_000_000_000
BODY = {"user": {"id": "u"}, "candidates": [{"id": "a"}, {"id": "b"}]}


def event(**changes):
    return {"event_id": "e1", "request_id": "r1", "video_id": "v1", "kind": "like", **changes}


def judged(*events):
    return at_once(checked(events, SPEC.feedback, now_ms=NOW_MS))


def post(client, *events, **options):
    return client.post("/v1/events", json={"events": list(events)}, **options)


@pytest.fixture(scope="module")
def app(registry, server):
    return create_app(
        ServingSettings(registry=registry, redis_url=server.url, impressions=ImpressionMode.SYNC)
    )


@pytest.fixture(scope="module")
def service(app):
    with serving(app) as client:
        yield client


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"value": 0},
        {"kind": "watch_time", "value": 1e9},
        {"kind": "shown"},
        {"kind": "shown", "value": 17},
        {"time_ms": NOW_MS + 60_000},
        {"time_ms": NOW_MS - 10 * 365 * 86_400_000},
        {"time_ms": None},
    ],
    ids=str,
)
def test_plausible_events_are_taken_as_they_are(changes):
    [taken], rejected = judged(event(**changes))
    assert rejected == []
    assert taken.time_ms == changes.get("time_ms")
    assert taken.value == changes.get("value", 0 if "kind" in changes else 1)


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"kind": "lik"}, Reason.UNKNOWN_KIND, "click, watch_time, like, shown, found 'lik'; did you mean"),
        ({"value": 1.5}, Reason.OUT_OF_RANGE, "expected a number from 0 to 1, found 1.5"),
        ({"value": -1}, Reason.OUT_OF_RANGE, "found -1"),
        ({"value": math.nan}, Reason.OUT_OF_RANGE, "found nan"),
        ({"kind": "watch_time", "value": -0.1}, Reason.OUT_OF_RANGE, "expected a number from 0, found -0.1"),
        ({"kind": "watch_time", "value": math.inf}, Reason.OUT_OF_RANGE, "found inf"),
        ({"kind": "watch_time", "value": 1e39}, Reason.OUT_OF_RANGE, "found 1e+39"),
        ({"kind": "shown", "value": 1.5}, Reason.OUT_OF_RANGE, "expected a position"),
        ({"kind": "shown", "value": 1001}, Reason.OUT_OF_RANGE, "expected a position"),
        ({"time_ms": NOW_MS + 60_001}, Reason.IMPLAUSIBLE_TIME, "to before 2026-"),
        ({"time_ms": NOW_MS // 1000}, Reason.IMPLAUSIBLE_TIME, "as seconds it would be 2026-09-21"),
        ({"time_ms": -(2**63)}, Reason.IMPLAUSIBLE_TIME, "before the year 1"),
    ],
    ids=str,
)
def test_others_are_set_aside_with_the_reason(changes, reason, detail):
    taken, [rejected] = judged(event(**changes))
    assert taken == []
    assert (rejected.reason, rejected.place) == (reason, 0)
    assert detail in rejected.detail


def test_a_value_beyond_what_the_spec_calls_plausible_is_set_aside() -> None:
    watched = RegressionTask(
        name="watch_time", group="engagement", kind="regression", transform="log1p", plausible=(-5.0, 600.0)
    )
    given = [event(kind="watch_time", value=value) for value in (600, 600.5, -1)]

    accepted, rejected = at_once(checked(given, [watched], now_ms=NOW_MS))

    assert [one.value for one in accepted] == [600]
    assert [(one.place, one.reason) for one in rejected] == [
        (1, Reason.OUT_OF_RANGE),
        (2, Reason.OUT_OF_RANGE),
    ]
    assert rejected[0].detail == "expected a number from 0 to 600, found 600.5"


def test_the_events_of_a_call_are_one_entry(service, store):
    shown = rank(service, BODY)
    request_id = shown["request_id"]
    given = [
        event(request_id=request_id, video_id="a", time_ms=NOW_MS - 86_400_000),
        event(event_id="e2", request_id=request_id, video_id=17, kind="watch_time", value=3),
        event(event_id="e3", request_id="ü" * 128, kind="shown"),
    ]
    answer = post(service, *given)
    assert (answer.status_code, answer.json()) == (200, {"written": 3, "rejected": []})
    assert request_ids(store) == [request_id]
    assert calls(store) == [
        [
            Event("e1", request_id, "a", "like", 1.0, NOW_MS - 86_400_000),
            Event("e2", request_id, "17", "watch_time", 3.0, None),
            Event("e3", "ü" * 128, "v1", "shown", 0.0, None),
        ]
    ]


def test_what_is_set_aside_is_counted_and_can_be_looked_at(app, service, store):
    before = metric_value(app.state.metrics, 'watchnext_events_rejected_total{reason="unknown kind"}')
    answer = post(service, event(kind="likes"), event(event_id="e2"), event(event_id="e3", value=7))
    assert answer.json()["written"] == 1
    assert [(each["index"], each["event_id"], each["reason"]) for each in answer.json()["rejected"]] == [
        (0, "e1", "unknown kind"),
        (2, "e3", "out of range"),
    ]
    assert [[each.event_id for each in call] for call in calls(store)] == [["e2"]]
    assert rejected_counts(store) == {"unknown kind": 1, "out of range": 1}
    assert [each.event.event_id for each in latest_rejected(store, 10)] == ["e3", "e1"]
    after = metric_value(app.state.metrics, 'watchnext_events_rejected_total{reason="unknown kind"}')
    assert after == before + 1


def test_of_many_that_are_set_aside_all_are_counted_and_some_can_be_looked_at(service, store):
    assert post(service, *[event(kind="likes")] * 250, event(value=2)).json()["written"] == 0
    assert rejected_counts(store) == {"unknown kind": 250, "out of range": 1}
    assert len(latest_rejected(store, 1_000)) == 100


def test_a_call_of_which_nothing_is_taken_writes_no_feedback(service, store):
    assert post(service, event(kind="likes")).json()["written"] == 0
    assert entries(store) == []


def test_a_number_too_large_for_any_label_is_set_aside(service, store):
    body = json.dumps({"events": [event(value=7)]}).replace("7", "1e999")
    answer = service.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["rejected"][0]["reason"]) == (200, "out of range")


def test_a_thousand_events_are_taken_at_once(service, store):
    assert post(service, *(event(event_id=str(i)) for i in range(1_000))).json()["written"] == 1_000
    assert [len(call) for call in calls(store)] == [1_000]


@pytest.mark.parametrize(
    ("events", "pointer", "detail"),
    [
        ([], "/events", "expected at least 1 item, found 0"),
        ([event()] * 1_001, "/events", "expected at most 1000 items, found 1001"),
        ("none", "/events", "expected a list"),
        ([event(), 7], "/events/1", "expected an object"),
        ([event(event_id="")], "/events/0/event_id", "expected at least 1 character, found 0"),
        ([event(event_id=5)], "/events/0/event_id", "expected text"),
        ([event(request_id="x" * 129)], "/events/0/request_id", "expected at most 128 characters, found 129"),
        ([event(video_id=1.5)], "/events/0/video_id", "expected text of 1 to 1,024 bytes"),
        ([event(kind="x" * 65)], "/events/0/kind", "expected at most 64 characters, found 65"),
        ([event(value="1")], "/events/0/value", "expected a number"),
        ([event(value=True)], "/events/0/value", "expected a number"),
        ([event(value=None)], "/events/0/value", "expected a number"),
        ([event(time_ms=1.5)], "/events/0/time_ms", "expected an integer"),
        ([event(time_ms=2**63)], "/events/0/time_ms", "expected less than"),
        ([event(weight=1)], "/events/0/weight", "unknown field"),
        ([{"event_id": "1"}], "/events/0/request_id", "expected this field"),
    ],
    ids=str,
)
def test_what_is_no_event_is_refused_with_the_place_and_nothing_is_written(
    service, store, events, pointer, detail
):
    answer = service.post("/v1/events", json={"events": events})
    check_problem(answer, 422, "invalid-request")
    first = answer.json()["errors"][0]
    assert first["pointer"] == pointer
    assert detail in first["detail"]
    assert entries(store) == []


def test_feedback_comes_after_the_impressions_before_it(registry, server, store, monkeypatch):
    monkeypatch.setattr(impression_writer, "LINGER_S", 0.3)
    settings = ServingSettings(registry=registry, redis_url=server.url, impressions=ImpressionMode.ASYNC)
    with serving(create_app(settings)) as client:
        request_id = rank(client, BODY)["request_id"]
        assert post(client, event(request_id=request_id, video_id="a")).json()["written"] == 1
        assert [entry.kind.name for entry in entries(store)] == ["IMPRESSION", "FEEDBACK"]


def test_events_are_taken_where_impressions_are_off(registry, server, store):
    settings = ServingSettings(registry=registry, redis_url=server.url, impressions=ImpressionMode.OFF)
    with serving(create_app(settings)) as client:
        rank(client, BODY)
        assert post(client, event()).json()["written"] == 1
    assert [entry.kind.name for entry in entries(store)] == ["FEEDBACK"]


def test_without_redis_events_are_refused_until_it_is_back(app, service, store, server, monkeypatch):
    monkeypatch.setattr("serving.sync.circuit_breaker.PROBE_S", 0.02)
    server.kill()
    try:
        answers = [post(service, event()) for _ in range(2)]
    finally:
        server.start()
    for answer in answers:
        check_problem(answer, 503, "store-unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    assert "nothing was changed" in answers[-1].text
    wait_until(lambda: post(service, event()).status_code == 200, "Redis to be noticed")
    assert [[each.event_id for each in call] for call in calls(store)] == [["e1"]]


def test_where_nobody_knows_whether_events_were_written_the_answer_says_so(registry, server, store):
    settings = ServingSettings(
        registry=registry, redis_url=server.url, impressions=ImpressionMode.SYNC, redis_timeout_s=0.1
    )
    with serving(create_app(settings)) as client:
        assert post(client, event()).status_code == 200
        server.stop()
        try:
            answer = post(client, event(event_id="e2"))
        finally:
            server.go_on()
        check_problem(answer, 503, "store-unavailable")
        assert "whether the change was made is not known, so send it again: twice does no harm" in answer.text
        wait_until(lambda: post(client, event(event_id="e2")).status_code == 200, "Redis to be noticed")
        assert {each.event_id for call in calls(store) for each in call} == {"e1", "e2"}


def test_a_redis_that_refuses_them_is_no_success(service, store):
    store.set(events_key(), "no stream")
    check_problem(post(service, event()), 503, "store-unavailable")


def test_at_its_bound_the_log_takes_neither_impressions_nor_events(registry, server, store):
    settings = ServingSettings(
        registry=registry, redis_url=server.url, impressions=ImpressionMode.SYNC, max_events=2
    )
    app = create_app(settings)
    with serving(app) as client:
        assert rank(client, BODY)["degraded"] == []
        assert post(client, event()).status_code == 200
        assert rank(client, BODY)["degraded"] == ["impressions"]
        refused = post(client, event(event_id="e2"))
        check_problem(refused, 503, "log-full")
        assert int(refused.headers["Retry-After"]) >= 1
        assert metric_value(app.state.metrics, 'watchnext_impressions_total{outcome="refused"}') == 1
        assert len(entries(store)) == 2
        store.delete(events_key())
        wait_until(lambda: post(client, event()).status_code == 200, "room to be noticed")
        assert rank(client, BODY)["degraded"] == []


def test_or_it_drops_the_oldest(registry, server, store):
    settings = ServingSettings(
        registry=registry,
        redis_url=server.url,
        impressions=ImpressionMode.SYNC,
        max_events=4,
        at_max_events=AtMaxEvents.DROP,
    )
    with serving(create_app(settings)) as client:
        asked = [rank(client, BODY) for _ in range(12)]
        assert all(answer["degraded"] == [] for answer in asked)
        wait_until(lambda: store.xlen(events_key()) <= 4, "the oldest to be dropped")
        newest = [answer["request_id"] for answer in asked][-store.xlen(events_key()) :]
        assert request_ids(store) == newest


@pytest.mark.parametrize(("role", "status"), [(Role.RANK, 403), (Role.WRITE, 200), (Role.ADMIN, 200)])
def test_events_need_a_key_that_may_write(registry, server, store, role, status):
    key = fresh_key()
    keys = [ApiKey(name="app", role=role, sha256=hashed(key))]
    settings = ServingSettings(
        registry=registry, redis_url=server.url, impressions=ImpressionMode.SYNC, api_keys=keys
    )
    with serving(create_app(settings)) as client:
        assert post(client, event()).status_code == 401
        answer = post(client, event(), headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == status


def test_the_interface_describes_events(service):
    document = service.get("/openapi.json").json()
    operation = document["paths"]["/v1/events"]["post"]
    assert {"200", "422", "503"} <= set(operation["responses"])
    properties = document["components"]["schemas"]["EventInput"]["properties"]
    assert all(field.get("description") for field in properties.values())
