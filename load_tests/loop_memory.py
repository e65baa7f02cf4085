"""Memory of a following trainer and of a service while the log of events grows a hundred times.

`python -m load_tests.loop_memory` writes impressions of two videos and calls with feedback, 20 a second by
the times of their entries, as fast as `train --follow` and `serve --live-features` take them. It notes the
memory of both, that of Redis, and the entries that Redis keeps. Categories that requests carry are ever new
ones, and with `--viewers 0` so are viewers, of whom trainer and service know more and more.

The results are written to loop_memory.json in the output folder, and drawn to docs/images/loop_memory.png.
QUICK=1 stops at ten times and writes nothing unless --out is given.
"""

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import psutil
import redis

from examples.made_up_log import write_log
from load_tests.environment import ROOT
from load_tests.kills.processes import Process, answers, free_port
from load_tests.machine import machine
from ranker.features.encoder import Encoder
from ranker.files.whole import replacing, write_whole
from ranker.private_redis.server import private_server
from ranker.spec_file import load_spec
from ranker.store.connection import connect
from ranker.store.keys import events_key
from ranker.stream.event_log import Kind
from ranker.stream.feedback import Event, to_bytes
from ranker.stream.impressions import Impression, ImpressionHeader
from ranker.stream.layouts import ImpressionLayouts, queue_layouts
from ranker.stream.redis_event_log import RedisEventLog, entry_fields
from serving.sync.event_follower import ENTRIES_PER_READ
from training.api import train

mpl.use("Agg")
from matplotlib import pyplot as plt

RESULTS: Final = Path(__file__).parent / "results"
PICTURE: Final = ROOT / "docs" / "images" / "loop_memory.png"
SMALL: Final = 2_000
"""Entries from which on the log grows."""
GAP_MS: Final = 50
"""Between two entries."""
BURST: Final = 2 * ENTRIES_PER_READ
"""Entries that are written at once: a service reads so many before it asks for the time, which is behind."""
MAX_UNREAD: Final = 30_000
VIDEOS: Final = 2_000
FIRST_UNTIL_MS: Final = 1_777_593_600_000 + 6 * 3_600_000
KINDS: Final = ("click", "watch_time", "like")


def contents(viewers: int, seed: int = 0) -> Iterator[tuple[Kind, bytes]]:
    """Impressions with two videos and, after each, what was done with them."""
    draw = random.Random(seed)
    layouts = ImpressionLayouts(Encoder(load_spec(str(ROOT / "examples" / "my_feed.yaml"))))
    number = 0
    while True:
        number += 1
        request, videos = f"request-{number:012}", [f"v{v}" for v in draw.sample(range(VIDEOS), 2)]
        person = number // 20
        user, country = f"u{person % viewers if viewers else person}", f"country-{number // 50}"
        tags = [[f"t{draw.randrange(50)}"] for _ in videos]
        header = ImpressionHeader(
            request_id=request,
            time_ms=0,
            user_id=user,
            query_video_id=None,
            video_ids=videos,
            scores=[1.0, 0.5],
            layouts=layouts.digests,
            widths=layouts.widths,
            model_version="my_feed-20260501T000000Z-00000000",
            score_policy="default",
            score_version="00000000",
            texts=[country, "9", *{tag for own in tags for tag in own}],
        )
        rows = [{"video_id": v, "tags": own, "duration_s": 30.0} for v, own in zip(videos, tags, strict=True)]
        own = {"user_id": user, "country": country, "hour": "9"}
        shown = Impression(
            header, layouts.request.of_rows([own]), layouts.videos.of_rows(rows), layouts.pairs.of_rows(rows)
        )
        yield Kind.IMPRESSION, shown.to_bytes()
        given = [
            Event(f"{request}-{video}-{kind}", request, video, kind, 1.0, None)
            for video in videos
            for kind in KINDS
            if draw.random() < 0.3
        ]
        yield Kind.FEEDBACK, to_bytes(given)


def unread(log: RedisEventLog) -> int:
    """Entries of event time, about, that the trainer has not learned."""
    last, done = log.extent().last, log.done()
    if last is None or not done:
        return 0
    return max(0, last.ms - max(done.values())) // GAP_MS


def sample(client: redis.Redis, written: int, pids: dict[str, int]) -> dict[str, float]:
    """The memory of everything, in MB."""
    found = {name: psutil.Process(pid).memory_full_info().uss / 1e6 for name, pid in pids.items()}
    information: Any = client.info("memory")
    return {
        "written": written,
        **found,
        "redis": information["used_memory"] / 1e6,
        "kept": float(RedisEventLog(client).extent().entries),
    }


def run(folder: Path, times: int, viewers: int) -> list[dict[str, float]]:
    """Let the log grow so many times, and sample."""
    write_log(folder / "log")
    train(ROOT / "examples" / "my_feed.yaml", folder / "log", folder / "first", until_ms=FIRST_UNTIL_MS)
    registry, yaml = folder / "registry", str(ROOT / "examples" / "my_feed.yaml")
    shutil.copytree(folder / "first", registry, ignore=shutil.ignore_patterns("runs"))
    port = free_port()
    with ExitStack() as stack:
        url = stack.enter_context(private_server(folder))
        client = stack.enter_context(connect(url))
        where = ["--registry", str(registry), "--redis-url", url]
        follow = ["train", "--follow", "--spec", yaml, "--wait", "1m", "--checkpoint-every", "2s"]
        trainer = Process([*follow, *where, "--publish-every", "1h"], folder / "train.log")
        service = Process(["serve", *where, "--live-features", "--port", str(port)], folder / "serve.log")
        layouts = ImpressionLayouts(Encoder(load_spec(yaml))).by_digest.values()
        with client.pipeline(transaction=False) as pipeline:
            queue_layouts(pipeline, layouts)
            pipeline.execute()
        for process in (trainer, service):
            stack.callback(process.kill)
            process.start()
        while not answers(port):
            time.sleep(0.1)
        log, source = RedisEventLog(client), contents(viewers)
        ms, written, samples = log.now_ms() + 60_000, 0, []
        next_sample = SMALL
        while written < times * SMALL:
            while unread(log) > MAX_UNREAD:
                time.sleep(0.1)
            with client.pipeline(transaction=True) as pipeline:
                for _ in range(BURST):
                    ms += GAP_MS
                    kind, data = next(source)
                    pipeline.xadd(events_key(), entry_fields(kind, data), id=f"{ms}-0")
                pipeline.execute()
            written += BURST
            if written >= next_sample:
                next_sample = written + SMALL
                pids = {"trainer": trainer.pid, "service": service.pid}
                with suppress(psutil.NoSuchProcess):
                    samples.append(sample(client, written, pids))
                if len(samples) % 10 == 1:
                    print(json.dumps(samples[-1]), flush=True)
    return samples


def draw(samples: list[dict[str, float]], path: Path) -> None:
    """Draw memory over the entries that were written."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 5), sharex=True, layout="constrained")
    written = [one["written"] / 1e3 for one in samples]
    for name, colour in (("trainer", "tab:blue"), ("service", "tab:orange")):
        above.plot(written, [one[name] for one in samples], color=colour, label=name)
    above.set_ylabel("MB of its own")
    above.set_ylim(0)
    above.legend(frameon=False)
    below.plot(written, [one["redis"] for one in samples], color="tab:green", label="Redis, MB")
    below.plot(
        written, [one["kept"] / 1e3 for one in samples], color="tab:gray", label="entries kept, thousands"
    )
    below.set_ylim(0)
    below.legend(frameon=False)
    below.set_xlabel("thousands of entries written")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as fresh:
        figure.savefig(fresh, dpi=150, format="png")


def main() -> None:
    """Run, and print, draw and write the results."""
    quick = os.environ.get("QUICK") == "1"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=10 if quick else 100, help="How much the log grows.")
    parser.add_argument("--viewers", type=int, default=500, help="How many there are; 0 for ever new ones.")
    parser.add_argument("--out", type=Path, default=None if quick else RESULTS, help="Where results go.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="watchnext-memory-") as name:
        samples = run(Path(name), given.times, given.viewers)
    report = {"machine": machine(), "samples": samples}
    for name in ("trainer", "service"):
        half = [one[name] for one in samples[len(samples) // 2 :]]
        print(f"{name}: {samples[0][name]:.0f} MB at first, {half[0]:.0f} at half, {half[-1]:.0f} at the end")
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write_whole(given.out / "loop_memory.json", (json.dumps(report, indent=2) + "\n").encode())
        draw(samples, PICTURE)


if __name__ == "__main__":
    main()
