"""What it costs to follow the log of events.

`python -m load_tests.live_loop [--data DIR]` writes the first rows of KuaiRand's log as impressions of 20
videos, with clicks, long views and likes as feedback, into a Redis of its own, and measures

1. the processor's time that a service takes to follow an impression of a video, with the preset's features;
2. rows per second of training that reads and joins the log of events, beside training from the Parquet
   archive of the same rows, taking turns in one run;
3. entries per second that one Redis takes from one connection, and the bytes that it keeps of each.

The results are written to live_loop.json in the output folder. QUICK=1 takes fewer rows and writes nothing
unless --out is given.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import redis

from load_tests.kuairand import BESIDE, demand
from load_tests.machine import machine
from ranker.events import TIME_MS, VIDEO_ID
from ranker.features.encoder import Encoder
from ranker.files.whole import write_whole
from ranker.private_redis.server import private_server
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec
from ranker.store.connection import connect
from ranker.store.keys import events_key
from ranker.stream.event_log import Entry, EntryId, Kind
from ranker.stream.feedback import Event, to_bytes
from ranker.stream.impressions import Impression, ImpressionHeader
from ranker.stream.layouts import ImpressionLayouts, queue_layouts
from ranker.stream.redis_event_log import entry_fields
from ranker.stream.state_changes import StateChanges
from ranker.stream.texts import IDS, queue_texts
from training.sources.kuairand.source import KuaiRandSource
from training.sources.live import LiveSource
from training.sources.parquet import ParquetSource
from training.trainer import Trainer

SHOWN: Final = 20
KINDS: Final = ("click", "long_view", "like")
GAP_MS: Final = 20
"""Between two impressions: a thousand videos a second are shown."""
BOUND: Final = 20_000
"""Impressions of a video a second for which the processor's share is stated."""
RESULTS: Final = Path(__file__).parent / "results"


def entries_of(encoder: Encoder, batches: Iterable[pa.RecordBatch], began_ms: int) -> Iterator[Entry]:
    """The rows of each batch as one impression, and what was done with it as one call's feedback."""
    layouts = ImpressionLayouts(encoder)
    for number, batch in enumerate(batches):
        videos = [f"{video}.{row}" for row, video in enumerate(batch.column(VIDEO_ID).to_pylist())]
        request = f"request-{number:012}"
        header = ImpressionHeader(
            request_id=request,
            time_ms=began_ms + GAP_MS * number,
            user_id=str(batch.column("user_id")[0]),
            query_video_id=None,
            video_ids=videos,
            scores=[0.5] * len(videos),
            layouts=layouts.digests,
            widths=layouts.widths,
            model_version="kuairand-20220501T000000Z-00000000",
            score_policy="default",
            score_version="00000000",
        )
        shown = Impression(
            header,
            layouts.request.of_batch(batch.slice(0, 1)),
            layouts.videos.of_batch(batch),
            layouts.pairs.of_batch(batch),
        )
        at_ms = began_ms + GAP_MS * number
        yield Entry(EntryId(at_ms, 0), Kind.IMPRESSION, shown.to_bytes())
        events = [
            Event(f"{request}-{row}-{kind}", request, videos[row], kind, 1.0, None)
            for kind in KINDS
            for row in np.flatnonzero(batch.column(kind).to_numpy(zero_copy_only=False)).tolist()
        ]
        if events:
            yield Entry(EntryId(at_ms + 1, 0), Kind.FEEDBACK, to_bytes(events))


def following(spec: RankerSpec, entries: list[Entry], rows: int) -> dict[str, float]:
    """The processor's time of following, in a state that has seen a tenth of the entries before."""
    encoder = Encoder(spec)
    changes, state = StateChanges(encoder, 0), encoder.feature_state
    begin = len(entries) // 10
    began = 0.0
    for start in range(0, len(entries), 50):
        if start >= begin and not began:
            began, counted = time.process_time(), rows * (len(entries) - start) / len(entries)
        part = entries[start : start + 50]
        changes.of(part).apply_to(state)
        state.advance(part[-1].id.ms)
    row_us = (time.process_time() - began) / counted * 1e6
    return {"us_per_impression": row_us, f"cores_at_{BOUND}_per_s": row_us * BOUND / 1e6}


def write(client: redis.Redis, spec: RankerSpec, batches: list[pa.RecordBatch], entries: list[Entry]) -> None:
    """Write entries with their own ids, and what is needed to read them."""
    layouts = ImpressionLayouts(Encoder(spec)).by_digest.values()
    with client.pipeline(transaction=False) as pipeline:
        queue_layouts(pipeline, layouts)
        for layout in layouts:
            for batch in batches:
                texts = layout.texts_of_batch(batch, without=IDS)
                if texts:
                    queue_texts(pipeline, spec.hash_seed, texts)
            pipeline.execute()
    for start in range(0, len(entries), 500):
        with client.pipeline(transaction=False) as pipeline:
            for entry in entries[start : start + 500]:
                pipeline.xadd(events_key(), entry_fields(entry.kind, entry.data), id=str(entry.id))
            pipeline.execute()


def trained_per_s(spec: RankerSpec, batches: Iterable[pa.RecordBatch]) -> float:
    """Rows per second of learning batches, reading included."""
    trainer, began = Trainer(spec, seed=0), time.perf_counter()
    for batch in batches:
        if batch.num_rows:
            trainer.step(batch)
    return trainer.rows / (time.perf_counter() - began)


def learning(client: redis.Redis, spec: RankerSpec, until_ms: int, rounds: int) -> dict[str, Any]:
    """Rows per second of training from the log of events and from its archive, in turn."""

    def live() -> Iterator[pa.RecordBatch]:
        source = LiveSource(spec, client, wait_s=60, stop=lambda: False)
        return source.records(spec.training.batch_size, until_ms=until_ms)

    with tempfile.TemporaryDirectory() as folder:
        table = pa.Table.from_batches(list(live()))
        pq.write_table(table, f"{folder}/part.parquet", row_group_size=65_536)
        archive = ParquetSource(f"{folder}/part.parquet")
        few = table.slice(0, 2_000).to_batches(spec.training.batch_size)
        trained_per_s(spec, few)  # compiles what is compiled at first use
        found: dict[str, list[float]] = {"parquet": [], "events": []}
        for _ in range(rounds):
            found["parquet"].append(trained_per_s(spec, archive.records(spec.training.batch_size)))
            found["events"].append(trained_per_s(spec, live()))
    ratios = [live / rest for live, rest in zip(found["events"], found["parquet"], strict=True)]
    return {"rows": table.num_rows, "rows_per_s": found, "ratio": median(ratios), "ratios": ratios}


def redis_takes(client: redis.Redis, entries: list[Entry]) -> dict[str, float]:
    """How many entries a second Redis takes, one a call, and what it keeps of each."""
    client.delete(events_key())
    began = time.perf_counter()
    for entry in entries:
        client.xadd(events_key(), entry_fields(entry.kind, entry.data))
    seconds = time.perf_counter() - began
    size = client.memory_usage(events_key(), samples=0)
    return {"entries_per_s": len(entries) / seconds, "bytes_per_entry": size / len(entries)}


def main() -> None:
    """Measure everything, and print and write the results."""
    quick = os.environ.get("QUICK") == "1"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=BESIDE, help="Folder of KuaiRand-Pure.")
    parser.add_argument("--rows", type=int, default=20_000 if quick else 100_000)
    parser.add_argument("--rounds", type=int, default=1 if quick else 3)
    parser.add_argument("--out", type=Path, default=None if quick else RESULTS, help="Where results go.")
    given = parser.parse_args()

    spec, source = load_spec("kuairand"), KuaiRandSource(demand(given.data))
    records = (batch for batch in source.records(SHOWN) if batch.num_rows == SHOWN)
    batches = [batch for batch, _ in zip(records, range(given.rows // SHOWN), strict=False)]
    began_ms = batches[0].column(TIME_MS)[0].as_py()
    entries = list(entries_of(Encoder(spec), batches, began_ms))
    report: dict[str, Any] = {"machine": machine(), "rows": len(batches) * SHOWN, "entries": len(entries)}
    report["following"] = following(spec, entries, len(batches) * SHOWN)
    with tempfile.TemporaryDirectory() as home, private_server(Path(home)) as url, connect(url) as client:
        write(client, spec, batches, entries)
        last = Entry(EntryId(entries[-1].id.ms + 3_600_000, 0), Kind.FEEDBACK, to_bytes([]))
        client.xadd(events_key(), entry_fields(last.kind, last.data), id=str(last.id))
        report["learning"] = learning(client, spec, entries[-1].id.ms + 1, given.rounds)
        report["redis"] = redis_takes(client, entries)
    print(json.dumps(report, indent=2))
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write_whole(given.out / "live_loop.json", (json.dumps(report, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
