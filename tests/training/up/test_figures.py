import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import redis

from ranker.bundles.registry import Registry
from ranker.metrics.binary_sums import BinarySums
from ranker.metrics.progressive import ProgressiveMetrics
from ranker.private_redis.server import private_server
from ranker.store.connection import connect
from ranker.stream.event_log import BEGINNING, Kind
from ranker.stream.redis_event_log import RedisEventLog
from tests.ranker.bundles.two_versions import FIRST, FIRST_VERSION, SECOND, SECOND_VERSION
from training.up import figures as figures_module
from training.up.figures import Watcher, newest_window

METRICS = """# HELP watchnext_requests_total Requests answered.
watchnext_requests_total{path="/v1/rank",status="200"} %d
watchnext_requests_total{path="/v1/rank",status="503"} 7.0
watchnext_requests_total{path="/metrics",status="200"} 9.0
watchnext_events_written_total %d
watchnext_events_written_created 1.7e+09
"""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[redis.Redis]:
    with private_server(tmp_path / "home") as url, connect(url) as client:
        yield client


@pytest.fixture
def counted() -> Iterator[tuple[str, list[int]]]:
    """A service that has answered so many rankings and written so many events."""
    counts = [0, 0]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ready = json.dumps({"model_version": "m"})
            content = (ready if self.path == "/readyz" else METRICS % tuple(counts)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", counts
        server.shutdown()
        thread.join()


def test_figures_are_those_of_the_parts(
    client: redis.Redis, counted: tuple[str, list[int]], tmp_path: Path
) -> None:
    url, counts = counted
    clock = iter([100.0, 102.0, 104.0]).__next__
    registry, log = Registry(str(tmp_path / "registry")), RedisEventLog(client)
    registry.make_current(registry.add(FIRST))
    for _ in range(3):
        last = log.append(Kind.FEEDBACK, b"")
    log.reached("small", BEGINNING, done_ms=last.ms - 2_500)
    watcher = Watcher(url, client, registry, "small", tmp_path / "metrics.parquet", clock)

    first = watcher.figures()
    assert (first.requests_per_s, first.serving, first.published, first.heads) == (None, "m", 0, [])
    assert (first.entries, first.behind_s) == (3, 2.5)

    counts[:] = 40, 60
    registry.make_current(registry.add(SECOND))
    second = watcher.figures()
    assert (second.requests_per_s, second.events_per_s) == (20.0, 30.0)
    assert (second.published, second.newest.model_version) == (1, SECOND_VERSION)  # type: ignore[union-attr]

    counts[:] = 10, 10  # another process counts from 0 on
    assert watcher.figures().requests_per_s is None
    assert set(registry.versions()) == {FIRST_VERSION, SECOND_VERSION}


def test_old_bundles_are_removed(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures_module, "prune", lambda registry, keep: pruned.append(keep))
    pruned: list[int] = []
    registry = Registry(str(tmp_path / "registry"))
    watcher = Watcher("http://127.0.0.1:9", client, registry, "small", tmp_path / "none")

    nothing = watcher.figures()
    assert (nothing.serving, nothing.newest, nothing.requests_per_s) == (None, None, None)
    registry.make_current(registry.add(FIRST))
    watcher.figures()
    watcher.figures()
    assert pruned == [figures_module.KEPT_BUNDLES]


def test_the_newest_window_that_is_over_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "metrics.parquet"
    metrics = ProgressiveMetrics({"click": BinarySums, "like": BinarySums}, window_ms=60_000)
    assert newest_window(path) == []
    for minute, expected in ((0, 0), (1, 0), (2, 1)):
        times = np.full(50, 60_000 * minute)
        labels = np.tile([[0.0, 1.0], [1.0, 0.0]], (25, 1))
        metrics.update(times, np.full((50, 2), 0.5), labels)
        pq.write_table(metrics.rows(with_open=True), path)
        found = newest_window(path)
        assert [row["head"] for row in found] == ["click", "like"]
        assert {row["window_start_ms"] for row in found} == {60_000 * expected}
