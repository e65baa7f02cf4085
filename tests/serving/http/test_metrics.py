import os
import platform
import subprocess
import sys
import threading
from importlib.metadata import version
from typing import get_args

import pytest
from fastapi import FastAPI, Request
from prometheus_client.parser import text_string_to_metric_families

from serving.http import middleware
from serving.http.event_metrics import ImpressionOutcome
from serving.http.metrics import DegradedReason, Metrics, Phase, RejectReason, Replacement
from serving.settings import ServingSettings
from tests.serving.conftest import serving
from tests.serving.waiting import join


def samples(text):
    """What Prometheus would read: values by name and labels."""
    return {
        (sample.name.removeprefix("watchnext_"), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def exposed(metrics):
    return samples(metrics.exposition().decode())


@pytest.fixture
def metrics():
    return Metrics(frozenset({"/v1/rank"}))


@pytest.mark.parametrize("phase", get_args(Phase))
def test_phases_are_timed_apart(metrics, phase):
    metrics.phase(phase, 0.004)
    metrics.phase(phase, 0.2)
    found = exposed(metrics)
    assert found["phase_seconds_count", phase] == 2
    assert found["phase_seconds_sum", phase] == pytest.approx(0.204)
    assert found["phase_seconds_bucket", "0.005", phase] == 1
    assert sum(value for key, value in found.items() if key[0] == "phase_seconds_count") == 2


def test_requests_are_counted_by_path_and_status(metrics):
    for path, status in [
        ("/v1/rank", 200),
        ("/v1/rank", 200),
        ("/v1/rank", 503),
        ("/etc", 404),
        ("/usr", 404),
    ]:
        metrics.request(path, status)
    found = {key[1:]: value for key, value in exposed(metrics).items() if key[0] == "requests_total"}
    assert found == {("/v1/rank", "200"): 2, ("/v1/rank", "503"): 1, ("404", "other"): 2}


def test_requests_are_timed_by_path_and_status_but_for_those_refused_at_once(metrics):
    metrics.request("/v1/rank", 200, 0.004)
    metrics.request("/v1/rank", 200, 7.0)
    metrics.request("/v1/rank", 503)
    metrics.request("/etc", 404, 0.1)
    found = exposed(metrics)
    counts = {key[1:]: value for key, value in found.items() if key[0] == "request_seconds_count"}
    assert counts == {("/v1/rank", "200"): 2, ("404", "other"): 1}
    assert found["request_seconds_sum", "/v1/rank", "200"] == pytest.approx(7.004)
    assert found["request_seconds_bucket", "/v1/rank", "10.0", "200"] == 2
    assert found["requests_total", "/v1/rank", "503"] == 1


def test_what_is_under_way_and_how_recent_things_are_is_told(metrics):
    metrics.in_flight("/v1/rank", 1)
    metrics.in_flight("/v1/rank", 1)
    metrics.in_flight("/v1/rank", -1)
    metrics.queue(5)
    metrics.registry_look(1_800_000_000.5)
    metrics.changes_lag(0.25)
    found = exposed(metrics)
    assert found["requests_in_flight", "/v1/rank"] == 1
    assert found["queue_requests",] == 5
    assert found["registry_last_look_timestamp_seconds",] == 1_800_000_000.5
    assert found["changes_lag_seconds",] == 0.25


def test_the_build_is_told(metrics):
    [labels] = [key[1:] for key in exposed(metrics) if key[0] == "build_info"]
    assert {version("watchnext"), version("torch"), platform.python_version()} == set(labels)


def test_sizes_are_seen_as_they_were(metrics):
    metrics.candidates(500)
    metrics.batch(3, 1400)
    metrics.catalogue(490, 10)
    metrics.resident_videos(7_583)
    found = exposed(metrics)
    assert found["candidates_sum",] == 500
    assert found["batch_requests_sum",] == 3
    assert found["batch_candidates_sum",] == 1400
    assert found["catalogue_lookups_total", "hit"] == 490
    assert found["catalogue_lookups_total", "miss"] == 10
    assert found["resident_videos",] == 7_583


def test_events_are_counted_by_reason_and_begin_at_zero(metrics):
    before = exposed(metrics)
    metrics.feature_store_error()
    metrics.degraded("feature_store", 1.5)
    metrics.swap("refused")
    metrics.reject("deadline")
    metrics.state_load("done")
    after = exposed(metrics)
    changed = {key: (before[key], after[key]) for key in after if before.get(key) != after[key]}
    assert changed == {
        ("feature_store_errors_total",): (0, 1),
        ("degraded_seconds_total", "feature_store"): (0, 1.5),
        ("swaps_total", "refused"): (0, 1),
        ("rejects_total", "deadline"): (0, 1),
        ("state_loads_total", "done"): (0, 1),
    }
    for name, words in {
        "degraded_seconds": DegradedReason,
        "swaps": Replacement,
        "rejects": RejectReason,
        "state_loads": Replacement,
    }.items():
        assert {key[1] for key in before if key[0] == f"{name}_total"} == set(get_args(words))


def test_impressions_and_events_are_counted_by_what_became_of_them(metrics):
    before = exposed(metrics)
    assert {key[1] for key in before if key[0] == "impressions_total"} == set(get_args(ImpressionOutcome))
    metrics.events.impressions("written", 3)
    metrics.events.impressions("dropped", 2)
    metrics.events.impressions_waiting(7)
    metrics.events.events_written(20)
    metrics.events.events_rejected("unknown kind", 4)
    metrics.events.event_log(1_000)
    metrics.events.events_dropped(50)
    found = exposed(metrics)
    assert found["impressions_total", "written"] == 3
    assert found["impressions_total", "dropped"] == 2
    assert found["impressions_total", "buffered"] == 0
    assert found["impressions_waiting",] == 7
    assert found["events_written_total",] == 20
    assert found["events_rejected_total", "unknown kind"] == 4
    assert found["event_log_entries",] == 1_000
    assert found["event_log_dropped_total",] == 50


def test_the_model_that_ranks_is_named_and_its_predecessor_no_longer(metrics):
    metrics.model("first")
    metrics.model("second")
    found = exposed(metrics)
    assert found["model_processes", "second"] == 1
    assert found["model_processes", "first"] == 0


def test_two_apps_in_one_process_count_apart(metrics):
    metrics.reject("overloaded")
    assert exposed(Metrics(frozenset()))["rejects_total", "overloaded"] == 0


def test_counting_from_several_threads_loses_nothing(metrics):
    def count():
        for _ in range(2_000):
            metrics.request("/v1/rank", 200)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        join(thread)
    assert exposed(metrics)["requests_total", "/v1/rank", "200"] == 8_000


ONE_PROCESS = """
from serving.http.metrics import Metrics
metrics = Metrics(frozenset({"/v1/rank"}))
metrics.request("/v1/rank", 200)
metrics.phase("model", 0.004)
metrics.model("small-1")
metrics.resident_videos(%d)
metrics.state_age(%d)
metrics.in_flight("/v1/rank", 1)
metrics.queue(2)
metrics.registry_look(%d)
metrics.changes_lag(%d)
metrics.events.impressions_waiting(3)
metrics.events.event_log(%d)
print(metrics.exposition().decode())
"""


def test_the_numbers_of_several_processes_are_added_up(tmp_path):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for resident, age_s in ((10, 500), (30, 200)):
        output = subprocess.run(
            [sys.executable, "-c", ONE_PROCESS % (resident, age_s, 1_000 + age_s, age_s, resident)],
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    found = samples(output)
    assert found["requests_total", "/v1/rank", "200"] == 2
    assert found["phase_seconds_count", "model"] == 2
    assert found["model_processes", "small-1"] == 2
    assert found["resident_videos",] == 10
    assert found["state_age_seconds",] == 500
    assert found["requests_in_flight", "/v1/rank"] == 2
    assert found["queue_requests",] == 4
    assert found["registry_last_look_timestamp_seconds",] == 1_200
    assert found["changes_lag_seconds",] == 500
    assert found["impressions_waiting",] == 6
    assert found["event_log_entries",] == 30  # what was said last
    assert [value for key, value in found.items() if key[0] == "build_info"] == [1]


@pytest.fixture(scope="module")
def client():
    app = FastAPI()
    middleware.install(app, ServingSettings(registry="", redis_url=""))

    @app.post("/v1/rank")
    async def rank(request: Request):
        if (await request.body()) == b"fail":
            raise RuntimeError
        request.state.scored = request.state.started
        return {}

    with serving(app) as client:
        yield client


def test_the_path_gives_what_prometheus_reads(client):
    response = client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=nonsense"})
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert samples(response.text)["swaps_total", "done"] == 0


def test_answers_are_counted_whatever_they_are(client):
    def count(path, status):
        return samples(client.get("/metrics").text).get(("requests_total", *sorted((path, status))), 0)

    cases = [("/v1/rank", "200"), ("/v1/rank", "500"), ("/v1/rank", "405"), ("other", "404")]
    before = [count(*case) for case in cases]
    client.post("/v1/rank")
    client.post("/v1/rank", content=b"fail")
    client.get("/v1/rank")
    client.get("/nowhere")
    assert [count(*case) for case in cases] == [n + 1 for n in before]


def test_the_answers_way_is_timed_of_requests_that_were_ranked(client):
    def count():
        return samples(client.get("/metrics").text)["phase_seconds_count", "respond"]

    before = count()
    client.post("/v1/rank")
    client.post("/v1/rank", content=b"fail")
    assert count() == before + 1


def test_requests_in_flight_are_those_that_are_not_answered(client):
    found = samples(client.get("/metrics").text)
    assert found["requests_in_flight", "/metrics"] == 1  # this one
    client.post("/v1/rank", content=b"fail")
    assert samples(client.get("/metrics").text)["requests_in_flight", "/v1/rank"] == 0
    assert samples(client.get("/metrics").text)["request_seconds_count", "/v1/rank", "500"] >= 1
