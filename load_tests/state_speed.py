"""Speed and memory of features that learn from the stream.

`python -m load_tests.state_speed [--data DIR]` measures the preset `kuairand` on its log:

1. rows per second of the state alone, which observes, learns and looks up every row at its time;
2. rows per second of training with and without the features of the state, taking turns in one run;
3. milliseconds of a look-up of 500 candidates;
4. memory over ten copies of the log, each later and with new ids of viewers, videos and authors, with tables
   so small that all of them are full long before the end.

The results are written to state_speed.json, .md and .png in the output folder. QUICK=1 measures on a part
of the log, and writes no files unless --out is given.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch

from load_tests.kuairand import BESIDE, demand
from load_tests.machine import machine
from load_tests.states.measure import look_up_ms, memory, state_speed, training_speed
from load_tests.states.plots import draw
from load_tests.states.report import markdown
from load_tests.states.rows import Rows
from ranker.files.whole import write_whole
from ranker.spec_file import load_spec
from training.sources.kuairand.source import KuaiRandSource

BATCH: Final = 4096
RESULTS: Final = Path(__file__).parent / "results"


def main() -> None:
    """Measure everything, and print and write the results."""
    quick = os.environ.get("QUICK") == "1"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=BESIDE, help="Folder of KuaiRand-Pure.")
    parser.add_argument("--rounds", type=int, default=2 if quick else 5)
    parser.add_argument("--training-rows", type=int, default=5_000 if quick else 30_000)
    parser.add_argument("--out", type=Path, default=None if quick else RESULTS, help="Where results go.")
    given = parser.parse_args()

    spec, source = load_spec("kuairand"), KuaiRandSource(demand(given.data))
    batches = list(source.records(BATCH))[: 5 if quick else None]
    rows = Rows(spec, batches)
    small = spec.training.batch_size
    step_batches = pa.Table.from_batches(batches).combine_chunks().to_batches(small)
    speeds = training_speed(spec, step_batches[: given.training_rows // small], given.rounds)
    took = look_up_ms(spec, rows, look_ups=200 if quick else 1000)
    capacity = 500 if quick else 5_000  # fewer than the keys of even the rarest kind of feedback
    report: dict[str, Any] = {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "rows": len(rows),
        "state_rows_per_s": state_speed(spec, rows, given.rounds),
        "training_rows_per_s": speeds,
        "training_share": max(speeds["with"]) / max(speeds["without"]),
        "look_up_ms": {f"p{p}": float(np.percentile(took, p)) for p in (50, 99)},
        "capacity": capacity,
        "memory": memory(spec, rows, capacity),
    }
    print(markdown(report))
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write_whole(given.out / "state_speed.json", (json.dumps(report, indent=2) + "\n").encode())
        write_whole(given.out / "state_speed.md", markdown(report).encode())
        draw(report, given.out / "state_speed.png")


if __name__ == "__main__":
    main()
