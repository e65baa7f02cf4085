"""Redis is killed, restarted or hangs while requests are ranked: they all go on being answered."""

import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.serving.redis_process import redis_process
from tests.serving.service_process import service_process
from tests.serving.small_ranker import publish_small_ranker, store_rows
from tests.serving.waiting import join

COUNT = 300
VIDEOS = [{"video_id": str(i), "duration_s": float(i), "topic": "news"} for i in range(COUNT)]
BODY = {
    "user": {"id": "712"},
    "query_video_id": "5",
    "context": {"hour": 21},
    "candidates": [{"id": str(i)} for i in range(COUNT)],
}
PATIENCE_S = 30
"""So that a slow machine fails no test; the promise is two seconds, and the load tests measure it."""


@pytest.fixture(scope="module")
def redis_server():
    with tempfile.TemporaryDirectory() as folder, redis_process(Path(folder)) as server:
        yield server


@pytest.fixture(scope="module")
def url(tmp_path_factory, redis_server):
    registry = tmp_path_factory.mktemp("registry")
    publish_small_ranker(registry)
    fill(redis_server)
    with service_process("--registry", str(registry), "--redis-url", redis_server.url) as (_, url):
        yield url


def fill(server):
    with server.client() as client:
        store_rows(client, videos=VIDEOS, users=[{"user_id": "712", "age": 35.0}])


class Viewer(threading.Thread):
    """Asks for rankings until told to stop, and keeps every answer."""

    def __init__(self, url):
        super().__init__()
        self.answers = []
        self.stopped = threading.Event()
        self.url = url

    def run(self):
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self.stopped.is_set():
                answer = client.post("/v1/rank", json=BODY)
                self.answers.append(answer)
                if answer.status_code != 200:
                    time.sleep(0.05)


@contextmanager
def viewers(url, count=3):
    """Rank all the while; in the end every request must have been answered, with all candidates."""
    asking = [Viewer(url) for _ in range(count)]
    for viewer in asking:
        viewer.start()
    try:
        yield
    finally:
        for viewer in asking:
            viewer.stopped.set()
            join(viewer)
    for viewer in asking:
        assert len(viewer.answers) > 10
        assert {answer.status_code for answer in viewer.answers} == {200}
        bodies = [answer.json() for answer in viewer.answers]
        assert {len(body["items"]) for body in bodies} == {COUNT}
        assert [*{str(body["degraded"]) for body in bodies} - {"[]", "['feature_store']"}] == []


def rank(url):
    answer = httpx.post(f"{url}/v1/rank", json=BODY, timeout=60)
    assert answer.status_code == 200
    return answer.json()


def until_degraded(url, words):
    deadline = time.monotonic() + PATIENCE_S
    while rank(url)["degraded"] != words:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return rank(url)


def predictions(answer):
    return {item["id"]: pytest.approx(item["predictions"], rel=0.02, abs=0.005) for item in answer["items"]}


def check_normal(url, server, before):
    """All is as it was, and changes are followed."""
    after = until_degraded(url, [])
    assert after["unknown"] == {"user": False, "videos": []}
    assert {item["id"]: item["predictions"] for item in after["items"]} == predictions(before)
    assert httpx.get(f"{url}/readyz").status_code == 200
    with server.client() as client:
        store_rows(client, videos=[{**VIDEOS[7], "duration_s": 90_000.0}])
        until_changed(url, before, changed=True)
        store_rows(client, videos=[VIDEOS[7]])
        until_changed(url, before, changed=False)


def until_changed(url, before, *, changed):
    deadline = time.monotonic() + PATIENCE_S
    while (
        {item["id"]: item["predictions"] for item in rank(url)["items"]} != predictions(before)
    ) != changed:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("fault", ["killed and started again", "killed and started empty", "hung"])
def test_without_redis_rankings_go_on_and_after_its_return_all_is_normal(url, redis_server, fault):
    before = until_degraded(url, [])
    with viewers(url):
        if fault == "hung":
            redis_server.stop()
        else:
            redis_server.kill()
        away = until_degraded(url, ["feature_store"])
        # nobody knows whether the viewer is stored; the videos are resident
        assert away["unknown"] == {"user": None, "videos": [], "unanswered_videos": []}
        ready = httpx.get(f"{url}/readyz")
        assert (ready.status_code, ready.json()["feature_store"]) == (200, "unavailable")
        assert httpx.get(f"{url}/healthz").status_code == 200
        put = httpx.put(f"{url}/v1/videos", json={"id": "7"}, timeout=60)
        assert (put.status_code, put.json()["type"]) == (503, "urn:watchnext:store-unavailable")
        if fault == "hung":
            redis_server.go_on()
        else:
            redis_server.start(empty=fault == "killed and started empty")
            fill(redis_server)
        check_normal(url, redis_server, before)


def test_a_redis_that_restarts_again_and_again_fails_no_request(url, redis_server):
    before = until_degraded(url, [])
    with viewers(url):
        for _ in range(5):
            redis_server.kill()
            time.sleep(0.1)
            redis_server.start()
            time.sleep(0.3)
        check_normal(url, redis_server, before)


def test_a_service_that_starts_without_redis_ranks_and_takes_up_the_catalogue(tmp_path, redis_server):
    publish_small_ranker(tmp_path)
    redis_server.kill()
    with service_process("--registry", str(tmp_path), "--redis-url", redis_server.url) as (_, url):
        answer = rank(url)
        assert answer["degraded"] == ["feature_store"]
        assert answer["unknown"]["videos"] == []
        assert len(answer["unknown"]["unanswered_videos"]) == COUNT
        redis_server.start()
        after = until_degraded(url, [])
        assert after["unknown"] == {"user": False, "videos": []}
