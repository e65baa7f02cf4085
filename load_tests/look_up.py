"""How long a request's features take to be looked up in a resident state.

`python -m load_tests.look_up --data DIR` lets the preset's state go through a log, then looks up what it
knows for viewers of the log's last rows with 500 candidates each out of its catalogue, and times that: the
look-up alone, and with making the network's input of it. Without --data the log is the simulated world.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from time import perf_counter, thread_time

import numpy as np
import pyarrow as pa
import torch

from load_tests.machine import machine
from ranker.features.encoder import Encoder
from ranker.features.layout import Group
from ranker.features.record import Words
from ranker.records import TIME_MS
from ranker.spec_file import load_spec
from training.sources.base import Source
from training.sources.recognise import open_source
from training.trainer import label_matrix

RESULTS = Path(__file__).parent / "results" / "look_up.json"
CANDIDATES = 500
VIEWERS = 200
"""Different requests: their keys are not all in the processor's cache."""


def filled(encoder: Encoder, source: Source) -> pa.RecordBatch:
    """Let the state go through a log; return its last rows."""
    last = None
    for batch in source.batches(8192):
        encoder.replay(batch, label_matrix(batch, encoder.spec))
        last = batch if last is None or batch.num_rows >= VIEWERS else last
    assert last is not None
    return last.slice(last.num_rows - VIEWERS)


def requests_of(encoder: Encoder, source: Source, rows: pa.RecordBatch) -> list[tuple[Words, Words]]:
    """Records of rows' viewers and moments, and of their pairs with videos of the catalogue."""
    draw = np.random.default_rng(0)
    catalogue = pa.Table.from_batches(source.videos()).combine_chunks().to_batches()[0]
    candidates = encoder.records[Group.CANDIDATE].of_batch(catalogue)
    requests = encoder.records[Group.REQUEST].of_batch(rows)
    pairs = encoder.records[Group.PAIR]
    shared = pairs.shared_words(encoder.records[Group.REQUEST])
    own = pairs.shared_words(encoder.records[Group.CANDIDATE])
    found = []
    for place in range(len(requests)):
        words = pairs.missing(CANDIDATES)
        words[:, shared[0]] = requests[place, shared[1]]
        words[:, own[0]] = candidates[np.ix_(draw.choice(len(candidates), CANDIDATES), own[1])]
        found.append((requests[place : place + 1], words))
    return found


def timed(
    what: Callable[[Words, Words], object], requests: Iterator[tuple[Words, Words]], rounds: int
) -> dict[str, float]:
    """Milliseconds by the clock and of the processor, each the median of all rounds."""
    wall, cpu = [], []
    for _ in range(rounds):
        request, pairs = next(requests)
        began, worked = perf_counter(), thread_time()
        what(request, pairs)
        cpu.append(thread_time() - worked)
        wall.append(perf_counter() - began)
    return {"ms": float(np.median(wall)) * 1000, "cpu_ms": float(np.median(cpu)) * 1000}


def main() -> None:
    """Print the times and keep them."""
    quick = os.environ.get("QUICK") == "1"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="Folder of a log; without it the simulated world.")
    parser.add_argument("--rounds", type=int, default=500 if quick else 5000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = open_source(arguments.data)
    encoder = Encoder(load_spec("kuairand" if arguments.data else "simulated"))
    rows = filled(encoder, source)
    now_ms = rows.column(TIME_MS)[-1].as_py() + 600_000
    state, records = encoder.feature_state, encoder.records
    state.advance(now_ms)
    times = {1: np.full(1, now_ms), CANDIDATES: np.full(CANDIDATES, now_ms)}

    def look_up(request: Words, pairs: Words) -> object:
        for group, words in ((Group.REQUEST, request), (Group.PAIR, pairs)):
            state.look_up(group, words, records[group], times[len(words)])
        return None

    def read(request: Words, pairs: Words) -> object:
        return encoder.read(Group.REQUEST, request, now_ms), encoder.read(Group.PAIR, pairs, now_ms)

    requests = cycle(requests_of(encoder, source, rows))
    numbers = sum(encoder.layout.state_numbers(feature) for feature in encoder.spec.state_features)
    found = {}
    for name, what in (("looked up", look_up), ("looked up and read into tensors", read)):
        timed(what, requests, VIEWERS)
        found[name] = timed(what, requests, arguments.rounds)
        print(
            f"{name}: {found[name]['ms']:.2f} ms, of which {found[name]['cpu_ms']:.2f} ms of the processor; "
            f"{CANDIDATES} candidates, {numbers} numbers of the state, {len(state):,} keys"
        )
    if not quick:
        RESULTS.write_text(json.dumps({"machine": machine(), "keys": len(state), **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
