"""What live rankings knew, beside what is learned of them.

`python -m load_tests.served_features [--data DIR] [--rankings N]` lets two processes rank requests made of
KuaiRand's log, with features that follow the log of events and are kept in impressions (`--log-features`),
and sends the feedback. Then it reads the log of events as a trainer does, and counts the rows whose features
of the state are not those that were served, bit for bit, and those that a state which replays the log would
have known otherwise. The bundle that ranked predicts the rows once more, of what was read.

The results are written to served_features.json in the output folder. QUICK=1 ranks a tenth and writes nothing
unless --out is given.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pyarrow as pa
import redis
import torch

from load_tests.kuairand import BESIDE, demand
from load_tests.machine import machine
from load_tests.replay_days import process, service_url
from ranker.bundles.registry import Registry
from ranker.events import SERVED_FEATURES, TIME_MS, VIDEO_ID
from ranker.features.encoder import Encoder
from ranker.features.sides import Group, Side
from ranker.files.whole import write_whole
from ranker.labels.matrix import label_matrix
from ranker.labels.natural_units import natural_units
from ranker.private_redis.server import private_server
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec
from ranker.store.connection import connect
from ranker.stream.event_log import BEGINNING, Kind
from ranker.stream.impressions import Impression
from ranker.stream.redis_event_log import RedisEventLog
from training.api import train
from training.sources.kuairand.source import KuaiRandSource
from training.sources.live import LiveSource

RESULTS: Final = Path(__file__).parent / "results"
RANKINGS: Final = 10_000
SHOWN: Final = 10
LEARNED_ROWS: Final = 60_000
CLIENTS: Final = 4
WAIT_S: Final = 1.0
"""The shortened wait of every label, so that labels count while the log is made."""
ENTRIES: Final = 500


def quick_labels(spec: RankerSpec) -> RankerSpec:
    """The spec with labels that are known after a second."""
    quick = {
        name: tuple(label.model_copy(update={"label_wait": WAIT_S}) for label in getattr(spec, name))
        for name in ("tasks", "labels")
    }
    return spec.model_copy(update=quick)


def asked(spec: RankerSpec, rows: pa.RecordBatch) -> dict[str, Any]:
    """A request for the videos of some rows by the viewer of the first."""
    first, *_ = columns = rows.to_pylist()
    names = {side: [f.source_column for f in spec.side(side)] for side in Side}
    ids = ("user_id", "video_id", "query_video_id")

    def values(row: dict[str, Any], *sides: Side) -> dict[str, Any]:
        chosen = [name for side in sides for name in names[side] if name not in ids]
        return {name: row[name] for name in chosen if row.get(name) is not None}

    return {
        "user": {"id": str(first["user_id"]), "features": values(first, Side.USER)},
        "context": values(first, Side.CONTEXT),
        "candidates": [
            {"id": f"{row[VIDEO_ID]}.{place}", "features": values(row, Side.CANDIDATE, Side.PAIR)}
            for place, row in enumerate(columns)
        ],
    }


def rank_all(url: str, spec: RankerSpec, batches: list[pa.RecordBatch]) -> float:
    """Send all requests and the feedback on them; return rankings a second."""

    def rank(part: list[pa.RecordBatch], name: int) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            for number, rows in enumerate(part):
                answer = client.post("/v1/rank", json=asked(spec, rows)).raise_for_status().json()
                liked = [f"{video}.{place}" for place, video in enumerate(rows[VIDEO_ID].to_pylist())]
                clicks = [
                    video for video, click in zip(liked, rows["click"].to_pylist(), strict=True) if click
                ]
                events = [
                    {"event_id": f"{name}-{number}-{video}", "request_id": answer["request_id"]}
                    | {"video_id": video, "kind": "click"}
                    for video in clicks
                ]
                if events:
                    client.post("/v1/events", json={"events": events}).raise_for_status()

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(rank, (batches[first::CLIENTS] for first in range(CLIENTS)), range(CLIENTS)))
    return len(batches) / (time.perf_counter() - began)


def impressions(client: redis.Redis) -> Iterator[Impression]:
    """All impressions of the log."""
    log, after = RedisEventLog(client), BEGINNING
    while entries := log.read(after, count=ENTRIES):
        after = entries[-1].id
        for entry in entries:
            if entry.kind is Kind.IMPRESSION:
                yield Impression.from_bytes(entry.data, where=str(entry.id))


def read_again(spec: RankerSpec, client: redis.Redis, registry: Registry, rows: int) -> dict[str, Any]:
    """Read the log as a trainer does, with a state that goes on from the bundle's."""
    bundle = registry.read()
    encoder, codec = bundle.encoder, bundle.encoder.served_features
    served: dict[str, Impression] = {one.header.request_id: one for one in impressions(client)}
    found = unequal = 0
    errors: list[np.ndarray[Any, Any]] = []
    for batch in LiveSource(spec, client, wait_s=WAIT_S, stop=lambda: False, flush_s=1.0).batches(1024):
        records = batch.records
        if records.num_rows:
            examples = encoder.read_examples(records, label_matrix(records, spec.feedback))
            with torch.inference_mode():
                outputs = bundle.model(examples.encoded)
            predicted = natural_units(outputs, spec.tasks)
            unequal += _unequal(encoder, records, examples.known)
            seen: dict[str, dict[str, list[float]]] = {}
            for row, (request, video) in enumerate(
                zip(records["request_id"].to_pylist(), records[VIDEO_ID].to_pylist(), strict=True)
            ):
                if request not in seen:
                    header = served[request].header
                    seen[request] = dict(zip(header.video_ids, header.predictions or [], strict=True))
                errors.append(np.abs(predicted[row] - np.array(seen[request][video])))
            found += records.num_rows
        if found >= rows:
            break
    binary = [index for index, task in enumerate(spec.tasks) if task.is_probability]
    return {
        "rows": found,
        "carried": encoder.served_rows,
        "not_as_served": unequal,
        "replayed_otherwise": encoder.served_otherwise,
        "bytes_of_request": codec.request_bytes,
        "bytes_of_video": codec.row_bytes,
        "largest_error_of_a_probability": float(np.stack(errors)[:, binary].max()),
    }


def _unequal(encoder: Encoder, records: pa.RecordBatch, known: dict[Group, Any]) -> int:
    """Rows whose features, written as a service writes them, are not the bytes that the row carries."""
    codec, carried = encoder.served_features, records[SERVED_FEATURES].to_pylist()
    own = codec.rows(known, np.arange(len(carried)))
    wrong = 0
    for row, data in enumerate(carried):
        one = {group: each.rows(slice(row, row + 1)) for group, each in known.items()}
        mine = codec.digest + codec.request(one) + own[row * codec.row_bytes : (row + 1) * codec.row_bytes]
        wrong += mine != data
    return wrong


def measure(data: Path, folder: Path, rankings: int) -> dict[str, Any]:
    """Train, serve, rank and read again."""
    spec, source = quick_labels(load_spec("kuairand")), KuaiRandSource(demand(data))
    batches = source.records(LEARNED_ROWS)
    until_ms = next(batches).column(TIME_MS)[-1].as_py()
    registry = folder / "registry"
    train(spec, source, registry, until_ms=until_ms)
    requests = list(islice(source.records(SHOWN, since_ms=until_ms), rankings))
    with ExitStack() as stack:
        url = stack.enter_context(private_server(folder))
        client = stack.enter_context(connect(url))
        serve = ["serve", "--registry", str(registry), "--redis-url", url, "--port", "0", "--workers", "2"]
        kept = ["--impressions", "sync", "--live-features", "--log-features", "--log-predictions"]
        log = folder / "serve.log"
        stack.enter_context(process(*serve, *kept, log=log))
        per_second = rank_all(service_url(log), spec, requests)
        report = read_again(spec, client, Registry(str(registry)), sum(r.num_rows for r in requests))
        size = RedisEventLog(client).size()
    return {
        "rankings": len(requests),
        "rankings_per_s": per_second,
        **report,
        "log_bytes_per_ranking": size / len(requests),
    }


def main() -> None:
    """Measure, and print and write the results."""
    quick = os.environ.get("QUICK") == "1"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=BESIDE, help="Folder of KuaiRand-Pure.")
    parser.add_argument("--rankings", type=int, default=RANKINGS // 10 if quick else RANKINGS)
    parser.add_argument("--out", type=Path, default=None if quick else RESULTS, help="Where results go.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = {"machine": machine(), **measure(given.data, Path(folder), given.rankings)}
    print(json.dumps(report, indent=2))
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write_whole(given.out / "served_features.json", json.dumps(report, indent=2).encode())


if __name__ == "__main__":
    main()
