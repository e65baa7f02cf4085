"""The benchmark's catalogue, users, log and requests, of a fixed seed.

Shape letters: N entities, K drawn entities.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from load_tests.environment import ROOT
from load_tests.ranking.reference import WATERMARK_MS, publish
from ranker.bundles.bundle import Request
from ranker.bundles.registry import Registry
from ranker.spec import RankerSpec
from ranker.spec_file import dump_spec

VIDEOS, USERS = 20_000, 2_000
QUERIES: Final = 1_000
"""Number of the most popular videos, from which query videos are drawn."""
LOG_ROWS: Final = 4_096
STEP_MS: Final = 1_000
"""Time between two impressions."""
CANDIDATES, LIMIT = 500, 20
HOURS, TABS = 24, 4
REQUESTS: Final = 400
SEED: Final = 20260501


@dataclass(frozen=True)
class World:
    """A world on disk: a log, tables of users and videos, a registry, and a loaded store.

    Attributes:
        folder: The world's folder.
        users: Rows of `users.parquet`.
        videos: Rows of `videos.parquet`, the most popular first.
        requests: Bodies of requests with 500 candidates each.
    """

    folder: Path
    users: list[dict[str, Any]]
    videos: list[dict[str, Any]]
    requests: list[dict[str, Any]]

    @property
    def registry(self) -> Path:
        """The registry with the reference ranker."""
        return self.folder / "registry"

    @property
    def home(self) -> Path:
        """The data folder of the private Redis."""
        return self.folder / "home"

    def request_file(self, candidates: int) -> Path:
        """Write the bodies of requests with this many candidates, one per line, and return the file."""
        path = self.folder / f"requests-{candidates}.jsonl"
        if not path.exists():
            bodies = self.requests if candidates == CANDIDATES else draw_requests(candidates)
            path.write_text("".join(json.dumps(body, separators=(",", ":")) + "\n" for body in bodies))
        return path

    def joined(self, body: dict[str, Any]) -> Request:
        """A request with everything that is stored of its user and videos, at the time of the last event."""
        query = self.videos[int(body["query_video_id"])]
        columns = {**self.users[int(body["user"]["id"])], **body["context"]}
        columns |= {f"query_{name}": value for name, value in query.items()}
        candidates = [{**self.videos[int(c["id"])], **c["features"]} for c in body["candidates"]]
        return Request(time_ms=WATERMARK_MS, request=columns, candidates=candidates)


def make_world(folder: Path, spec: RankerSpec) -> World:
    """Create the world, publish the ranker, and load the store with `watchnext features load`.

    Args:
        folder: The folder to create the world in.
        spec: The ranker.
    """
    random = np.random.default_rng(SEED)
    users, videos = _users(random), _videos(random)
    world = World(folder, users.to_pylist(), videos.to_pylist(), draw_requests(CANDIDATES))
    data = folder / "data"
    data.mkdir(parents=True)
    log = _log(random, users, videos, LOG_ROWS, WATERMARK_MS - (LOG_ROWS - 1) * STEP_MS)
    for name, table in (("users", users), ("videos", videos), ("events", log)):
        pq.write_table(table, data / f"{name}.parquet")
    (folder / "spec.yaml").write_text(dump_spec(spec))
    golden = world.joined(world.requests[0])
    small = golden.model_copy(update={"candidates": golden.candidates[:4]})
    publish(world.registry, spec, log.combine_chunks().to_batches()[0], small)
    load = ["features", "load", "--spec", folder / "spec.yaml", "--data", data, "--home", world.home]
    subprocess.run(
        [sys.executable, "-m", "watchnext", *load], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    return world


def draw_requests(candidates: int) -> list[dict[str, Any]]:
    """Draw the requests, with this many candidates each."""
    return list(_requests(np.random.default_rng([SEED, candidates]), candidates))


def expected_predictions(world: World, count: int) -> NDArray[np.float64]:
    """Return the bundle's float32 predictions for the first requests: (count, 500, tasks)."""
    bundle = Registry(str(world.registry)).read()
    joined = [world.joined(body) for body in world.requests[:count]]
    return np.stack([bundle.predict(each.request, each.candidates, time_ms=each.time_ms) for each in joined])


def _requests(random: np.random.Generator, candidates: int) -> Iterator[dict[str, Any]]:
    for _ in range(REQUESTS):
        picked = _zipf(random, VIDEOS, candidates)
        scores = random.normal(size=candidates).round(4).tolist()
        yield {
            "user": {"id": str(random.integers(USERS))},
            "query_video_id": str(_zipf(random, QUERIES, 1)[0]),
            "context": {"hour": int(random.integers(HOURS)), "tab": int(random.integers(TABS))},
            "candidates": [
                {"id": str(video), "features": {"retrieval_score": score}}
                for video, score in zip(picked, scores, strict=True)
            ],
            "limit": LIMIT,
        }


def _zipf(random: np.random.Generator, count: int, picked: int) -> NDArray[np.int64]:
    """Draw (K,) distinct numbers below N with probability proportional to 1 / (1 + number)."""
    keys = random.gumbel(size=count) - np.log(np.arange(1, count + 1))
    return np.argpartition(-keys, picked - 1)[:picked]


def _users(random: np.random.Generator) -> pa.Table:
    return pa.table(
        {
            "user_id": pa.array(np.arange(USERS).astype(str)),
            "country": _words(random, "country", 50, USERS),
            "device": _words(random, "device", 6, USERS),
            "age": random.integers(13, 80, USERS).astype(float),
            "register_days": random.exponential(400, USERS).round(),
            "follows": _bags(random, "channel", 2_000, 8, USERS),
            "interests": _bags(random, "tag", 800, 5, USERS),
        }
    )


def _videos(random: np.random.Generator) -> pa.Table:
    return pa.table(
        {
            "video_id": pa.array(np.arange(VIDEOS).astype(str)),
            "channel_id": _words(random, "channel", 2_000, VIDEOS),
            "topic": _words(random, "topic", 40, VIDEOS),
            "language": _words(random, "language", 20, VIDEOS),
            "tags": _bags(random, "tag", 800, 6, VIDEOS),
            "duration_s": random.exponential(90, VIDEOS).round(1),
            "age_days": random.exponential(100, VIDEOS).round(1),
            "views": (1e6 / np.arange(1, VIDEOS + 1) * random.exponential(1, VIDEOS)).round(),
            "like_rate": random.beta(2, 30, VIDEOS).round(4),
        }
    )


def stream(world: World, rows: int) -> pa.Table:
    """Draw impressions with feedback after those that the ranker learned."""
    random = np.random.default_rng([SEED, rows])
    users, videos = pa.Table.from_pylist(world.users), pa.Table.from_pylist(world.videos)
    return _log(random, users, videos, rows, WATERMARK_MS + STEP_MS)


def _log(
    random: np.random.Generator, users: pa.Table, videos: pa.Table, rows: int, begin_ms: int
) -> pa.Table:
    """Draw impressions with feedback that depends on the channel and the hour."""
    viewer = users.take(random.integers(USERS, size=rows))
    video = videos.take(random.integers(VIDEOS, size=rows))
    query = videos.take(random.integers(QUERIES, size=rows))
    columns = {name: viewer.column(name) for name in viewer.column_names}
    columns |= {name: video.column(name) for name in video.column_names}
    columns |= {f"query_{name}": query.column(name) for name in query.column_names}
    context = {
        "hour": random.integers(HOURS, size=rows),
        "tab": random.integers(TABS, size=rows),
        "retrieval_score": random.normal(size=rows),
    }
    times = begin_ms + STEP_MS * np.arange(rows)
    return pa.table({"time_ms": times, **columns, **context, **_feedback(video, times)})


def _feedback(videos: pa.Table, times: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    random = np.random.default_rng([SEED, len(times)])
    channels = np.array([int(name.split("-")[1]) for name in videos.column("channel_id").to_pylist()])
    liked = 1 / (1 + np.exp(-3 * np.sin(channels + times // 3_600_000)))
    click = (random.random(len(times)) < liked).astype(float)
    return {
        "click": click,
        "watch_time": click * random.exponential(30, len(times)).round(1),
        "like": (random.random(len(times)) < 0.2 * liked).astype(float),
        "dismiss": (random.random(len(times)) < 0.1 * (1 - liked)).astype(float),
        "rating": 1 + np.round(4 * liked),
    }


def _words(random: np.random.Generator, word: str, count: int, rows: int) -> list[str]:
    return [f"{word}-{number}" for number in random.integers(count, size=rows)]


def _bags(random: np.random.Generator, word: str, count: int, max_items: int, rows: int) -> list[list[str]]:
    sizes = random.integers(1, max_items + 1, size=rows)
    return [[f"{word}-{number}" for number in random.integers(count, size=size)] for size in sizes]
