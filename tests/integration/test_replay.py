"""A log that is played back over HTTP is joined as it was, though replay and service are killed."""

import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from examples.made_up_log import write_log
from ranker.private_redis.server import private_server
from ranker.spec_file import load_spec
from ranker.store.connection import connect
from ranker.stream.joiner import Clock
from tests.serving.service_process import service_process
from training.api import train
from training.archive import ArchiveConfig, archive
from training.replay.progress import ReplayProgress
from training.replay.replay import ReplayConfig, ReplayCounts, replay
from training.sources.parquet import ParquetSource

SPEC = "examples/my_feed.yaml"
BEGAN_MS = 1_777_593_600_000
HOUR_MS = 3_600_000
UNTIL_MS = BEGAN_MS + 4 * HOUR_MS
LABELS = [label.source_column for label in load_spec(SPEC).feedback]
FEATURES = ["country", "hour", "author_id", "tags"]
COMPARED = ["time_ms", "user_id", "video_id", "position", *FEATURES, *LABELS]


class DiedError(Exception):
    """The replay ends in the middle of something."""


def test_what_was_played_back_is_what_the_log_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events, registry = tmp_path / "events", str(tmp_path / "registry")
    write_log(events)
    train(SPEC, str(events), registry, until_ms=BEGAN_MS + HOUR_MS)
    source = ParquetSource(str(events))

    with private_server(tmp_path / "home") as redis_url, connect(redis_url) as client:
        serve = ["--registry", registry, "--redis-url", redis_url, "--impressions", "sync"]

        def played(url: str, *, requests: int = 10**9) -> ReplayCounts:
            """Play back until so many requests were sent."""
            sent = 0

            def watch(counts: ReplayCounts) -> None:
                nonlocal sent
                sent = counts.requests

            config = ReplayConfig(load_spec(SPEC), source, url, tmp_path / "progress.json", until_ms=UNTIL_MS)
            return replay(config, stop=lambda: sent >= requests, watch=watch)

        with service_process(*serve, "--impressions-seen", "shown") as (service, url):
            assert not played(url, requests=10).done
            _dies_before_it_notes(monkeypatch, lambda: played(url))
            killer = threading.Timer(0.3, service.kill)
            killer.start()
            stopped_at = time.monotonic() + 2
            config = ReplayConfig(load_spec(SPEC), source, url, tmp_path / "progress.json", until_ms=UNTIL_MS)
            counts = replay(config, stop=lambda: time.monotonic() > stopped_at)
            killer.join()
            assert counts.retries
            assert not counts.done
        with service_process(*serve, "--impressions-seen", "shown") as (_, url):
            counts = played(url)
            assert (counts.done, counts.rejected) == (True, {})
            assert played(url).events == 0

        asked = iter(range(10))
        config = ArchiveConfig(load_spec(SPEC), client, tmp_path / "archive", clock=Clock.EVENT)
        archive(config, stop=lambda: next(asked, None) is None)

    expected = _rows(events, UNTIL_MS)
    assert len(expected) > 500
    assert _rows(tmp_path / "archive") == expected


def _dies_before_it_notes(monkeypatch: pytest.MonkeyPatch, play: Any) -> None:
    """Let a replay end when requests are answered but not noted."""
    with monkeypatch.context() as patch:

        def die(*_: Any) -> None:
            raise DiedError

        patch.setattr(ReplayProgress, "save", die)
        with pytest.raises(DiedError):
            play()


def _rows(folder: Path, until_ms: int | None = None) -> list[dict[str, Any]]:
    """The rows of a log, in one order and in one form."""
    found = pa.Table.from_batches(list(ParquetSource(str(folder)).records(1000, until_ms=until_ms)))
    columns = {name: found[name] for name in COMPARED}
    for name in ("hour", "video_id", "user_id"):
        columns[name] = columns[name].cast(pa.string())
    for name in LABELS:
        columns[name] = columns[name].cast(pa.float32())
    return sorted(pa.table(columns).to_pylist(), key=lambda row: (row["time_ms"], row["position"]))
