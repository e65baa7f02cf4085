"""The whole loop as processes: a service, a trainer that follows it, viewers who answer, kills of all three.

What the newest bundle has learned is compared with what viewers were shown: every video once, none twice.
"""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from ranker.bundles.registry import Registry
from ranker.stream.event_log import BEGINNING
from ranker.stream.joiner import Joiner
from ranker.stream.redis_event_log import RedisEventLog
from tests.serving.redis_process import RedisProcess
from tests.serving.service_process import service_process
from tests.serving.small_ranker import SPEC, YAML, publish_small_ranker
from tests.serving.waiting import wait_until

SHOWN = 4
FOLLOW = ["--wait", "1s", "--learn-every", "1s", "--publish-every", "2s", "--checkpoint-every", "1s"]


class Viewers:
    """Ask for rankings, and click on what they are shown; some events are sent twice.

    Attributes:
        shown: The requests that were answered.
        clicked: Request and video of each click.
    """

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.clicked: set[tuple[str, str]] = set()
        self._random = random.Random(0)

    def ask(self, url: str, requests: int) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            for _ in range(requests):
                videos = self._random.sample(range(100), 12)
                body = {
                    "user": {"id": str(self._random.randrange(20)), "features": {"age": 30}},
                    "context": {"hour": 9},
                    "candidates": [{"id": str(video)} for video in videos],
                    "limit": SHOWN,
                }
                answer = client.post("/v1/rank", json=body).raise_for_status().json()
                self.shown.append(answer["request_id"])
                deadline = time.monotonic() + 30
                while answer["degraded"] and time.monotonic() < deadline:  # written once Redis is back
                    time.sleep(0.1)
                    answer = client.post("/v1/rank", json=body).raise_for_status().json()
                    self.shown.append(answer["request_id"])
                assert answer["degraded"] == []
                self._click(client, answer)

    def _click(self, client: httpx.Client, answer: dict[str, Any]) -> None:
        request = answer["request_id"]
        clicked = [item["id"] for item in answer["items"] if self._random.random() < 0.4]
        events = [
            {"event_id": f"{request} {video}", "request_id": request, "video_id": video, "kind": "click"}
            for video in clicked
        ]
        for _ in range(self._random.choice([1, 1, 2]) if events else 0):
            assert (
                client.post("/v1/events", json={"events": events}).raise_for_status().json()["rejected"] == []
            )
        self.clicked |= {(request, video) for video in clicked}


@contextmanager
def process(*arguments: str, cwd: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a subcommand of watchnext; end it, if it was not killed, by SIGTERM, which is status 0."""
    with (cwd / "said.log").open("ab") as said:
        command = [sys.executable, "-m", "watchnext", *arguments]
        with subprocess.Popen(command, stdout=said, stderr=said, cwd=cwd) as started:
            try:
                yield started
            finally:
                killed = started.poll() is not None
                started.terminate()
                status = started.wait(60)
        assert killed or status == 0, (cwd / "said.log").read_text()


def test_what_viewers_did_is_learned_once_whoever_is_killed(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    publish_small_ranker(registry)
    (tmp_path / "small.yaml").write_text(YAML)
    (tmp_path / "redis").mkdir()
    server, viewers = RedisProcess(tmp_path / "redis"), Viewers()
    server.start()
    where = ["--registry", str(registry), "--redis-url", server.url]
    serve = [*where, "--impressions", "sync"]
    follow = ["train", "--follow", "--spec", "small.yaml", *where, *FOLLOW]
    with server.client() as client:
        RedisEventLog(client).reached("the test", BEGINNING)  # so that all entries are kept

    def learned() -> int:
        return Registry(str(registry)).manifest(Registry(str(registry)).current()).rows

    try:
        with process(*follow, cwd=tmp_path) as trainer, service_process(*serve) as (service, url):
            viewers.ask(url, 60)
            wait_until(lambda: learned() > 2, "a first bundle")
            trainer.kill()
            viewers.ask(url, 20)
            server.kill()
            server.start()
            viewers.ask(url, 40)
            service.kill()
        with process(*follow, cwd=tmp_path), service_process(*serve) as (_, url):
            viewers.ask(url, 60)
            total = SHOWN * len(viewers.shown)
            wait_until(lambda: learned() == total, f"a bundle that has learned {total} rows", 90)
            newest = Registry(str(registry)).current()
            wait_until(
                lambda: httpx.get(f"{url}/v1/model").json()["model_version"] == newest,
                "the service to take it",
            )
        with server.client() as client:
            entries = RedisEventLog(client).read(BEGINNING, count=10**6)
    finally:
        server.kill()

    joiner = Joiner(SPEC.feedback, wait_s=1)
    joined = [one for entry in entries for one in joiner.take(entry)] + joiner.advance(
        entries[-1].id.ms + 9_999
    )
    assert [one.impression.header.request_id for one in joined] == viewers.shown
    clicked = {
        (one.impression.header.request_id, video)
        for one in joined
        for video, label in zip(one.impression.header.video_ids, one.labels[:, 0], strict=True)
        if label == 1
    }
    assert clicked == viewers.clicked
