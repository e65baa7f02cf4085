"""How fast features that learn from the stream are, and that their memory is bounded.

`python -m load_tests.feature_state [--data DIR]` measures with the preset of KuaiRand and its log:

1. rows a second of the state alone: observing, learning and looking up every row as of its time;
2. rows a second of training with all features of the state, and without them: in turn, in one run;
3. milliseconds to look up what is known of 500 candidates;
4. memory over a log ten times as long: the same one ten times, each time later and with new ids of viewers,
   videos and authors, and with so little room that every table of the state is full long before the end.

The results go to feature_state.json, .md and .png in the output folder. QUICK=1 measures on less of the log,
and keeps nothing.
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import torch

from load_tests.kuairand import BESIDE, demand
from load_tests.machine import machine
from ranker.feature_spec import Side
from ranker.features.encoder import Encoder
from ranker.features.layout import VIEWER, Group
from ranker.features.record import MISSING_KEY, RecordLayout, Words
from ranker.features.state.feature_state import FeatureState, Labels
from ranker.features.state.kernels import Times
from ranker.records import TIME_MS
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec
from training.sources.kuairand import KuaiRandSource
from training.trainer import Trainer, label_matrix

mpl.use("Agg")
from matplotlib import pyplot as plt

QUICK: Final = os.environ.get("QUICK") == "1"
BATCH: Final = 4096
CANDIDATES: Final = 500
LOOK_UPS: Final = 200 if QUICK else 1000
TIMES_AS_LONG: Final = 10
CAPACITY: Final = 500 if QUICK else 5_000
"""Keys of each feature in the long log: fewer than even those of the rarest kind of feedback."""
RENAMED: Final = ("user_id", "video_id", "author_id")
LEAST_ROWS_PER_S: Final = 100_000
LEAST_SHARE: Final = 0.5
MOST_MS: Final = 2.0


@dataclass(frozen=True)
class Part:
    """A batch of the log as the state takes it."""

    words: Words
    times: Times
    labels: Labels


class Rows:
    """A log's rows, read once.

    Args:
        spec: Names the columns.
        batches: The log.
    """

    def __init__(self, spec: RankerSpec, batches: list[pa.RecordBatch]) -> None:
        self.records = RecordLayout((*spec.side(*Side), VIEWER), seed=spec.hash_seed)
        self.parts = [
            Part(self.records.of_batch(b), b.column(TIME_MS).to_numpy(), label_matrix(b, spec))
            for b in batches
        ]

    def __len__(self) -> int:
        return sum(len(part.times) for part in self.parts)

    def longer(self, spec: RankerSpec, times: int) -> Iterator[Part]:
        """The log several times, each time later, with new ids."""
        places = [self.records.place(f) for f in spec.side(*Side) if f.name in RENAMED]
        begin_ms, end_ms = int(self.parts[0].times[0]), int(self.parts[-1].times[-1])
        for number in range(times):
            salt = np.uint64(number * 0x9E3779B97F4A7C15 % 2**64)
            for part in self.parts:
                words = part.words.copy()
                ids = words[:, places]
                words[:, places] = np.where(ids == MISSING_KEY, ids, ids ^ salt)
                yield Part(words, part.times + number * (end_ms - begin_ms + 1), part.labels)


def fresh_state(spec: RankerSpec) -> FeatureState:
    """A state that knows nothing yet."""
    return Encoder(spec).feature_state


def state_speed(spec: RankerSpec, rows: Rows, rounds: int) -> list[float]:
    """Rows a second of the state alone, round by round; the first one, which compiles, is left out."""
    speeds = []
    for _ in range(rounds + 1):
        state, begun = fresh_state(spec), perf_counter()
        for part in rows.parts:
            state.replay(part.words, rows.records, part.times, part.labels)
        speeds.append(len(rows) / (perf_counter() - begun))
    return speeds[1:]


def training_speed(spec: RankerSpec, batches: list[pa.RecordBatch], rounds: int) -> dict[str, list[float]]:
    """Rows a second of training with and without features of the state, in turn."""
    columns = tuple(f for f in spec.features if f not in spec.state_features)
    specs = {"with": spec, "without": spec.model_copy(update={"features": columns})}
    speeds: dict[str, list[float]] = {name: [] for name in specs}
    for number in range(rounds):
        for name in specs if number % 2 == 0 else reversed(specs):
            trainer = Trainer(specs[name], seed=0)
            for batch in batches[:5]:
                trainer.step(batch)
            begun = perf_counter()
            for batch in batches[5:]:
                trainer.step(batch)
            speeds[name].append(sum(b.num_rows for b in batches[5:]) / (perf_counter() - begun))
    return speeds


def look_up_ms(spec: RankerSpec, rows: Rows) -> list[float]:
    """Milliseconds of each look-up of a viewer with 500 candidates, whose records are resident."""
    state = fresh_state(spec)
    for part in rows.parts:
        state.replay(part.words, rows.records, part.times, part.labels)
    random, last = np.random.default_rng(0), rows.parts[-1]
    candidates = np.concatenate([part.words for part in rows.parts])
    viewer = [rows.records.place(f) for f in spec.side(Side.USER, Side.QUERY, Side.CONTEXT, Side.BIAS)]
    took = []
    for _ in range(LOOK_UPS):
        words = candidates[random.integers(0, len(candidates), CANDIDATES)]
        words[:, viewer] = words[0, viewer]
        times = np.full(CANDIDATES, last.times[-1] + 1)
        begun = perf_counter()
        state.look_up(Group.REQUEST, words[:1], rows.records, times[:1])
        state.look_up(Group.PAIR, words, rows.records, times)
        took.append(1000 * (perf_counter() - begun))
    return took


def memory(spec: RankerSpec, rows: Rows) -> list[dict[str, float]]:
    """Memory after each batch of the long log, and once each time through what a saved state has."""
    bounded = tuple(
        f.model_copy(update={"capacity": CAPACITY}) if "capacity" in type(f).model_fields else f
        for f in spec.state_features
    )
    columns = tuple(f for f in spec.features if f not in spec.state_features)
    state = fresh_state(spec.model_copy(update={"features": (*columns, *bounded)}))
    before_mb, seen, found = resident_mb(), 0, []
    for part in rows.longer(spec, TIMES_AS_LONG):
        state.replay(part.words, rows.records, part.times, part.labels)
        seen += len(part.times)
        one: dict[str, float] = {"rows": seen, "grown_mb": resident_mb() - before_mb, "keys": len(state)}
        if len(found) % len(rows.parts) == len(rows.parts) - 1:
            one["saved_mb"] = sum(array.nbytes for array in state.state().values()) / 1e6
        found.append(one)
    return found


def resident_mb() -> float:
    """Memory of this process, in megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def markdown(report: dict[str, Any]) -> str:
    """The results as a table with what is needed to read it."""
    state, training, ms = report["state_rows_per_s"], report["training_rows_per_s"], report["look_up_ms"]
    long, saved = report["memory"], [one for one in report["memory"] if "saved_mb" in one]
    half = long[len(long) // 2]
    lines = [
        "# Features that learn from the stream",
        "",
        f"KuaiRand's preset, {report['rows']:,} rows, {report['machine']['cpu']}, "
        f"{report['machine']['cores']} cores, {report['threads']} threads.",
        "",
        "| | measured | aim |",
        "| --- | ---: | ---: |",
        f"| the state alone, rows/s (best of {len(state)}) | {max(state):,.0f} | {LEAST_ROWS_PER_S:,} |",
        f"| training with it, rows/s | {max(training['with']):,.0f} | |",
        f"| training without it, rows/s | {max(training['without']):,.0f} | |",
        f"| with it, share of the speed without | {report['training_share']:.2f} | {LEAST_SHARE} |",
        f"| look-up of {CANDIDATES} candidates, median | {ms['p50']:.2f} ms | {MOST_MS:g} ms |",
        f"| look-up of {CANDIDATES} candidates, 99th percentile | {ms['p99']:.2f} ms | |",
        "",
        f"A log {TIMES_AS_LONG} times as long, with new ids, and room for {CAPACITY:,} keys a feature:",
        "",
        "| rows | keys | saved state, MB | process grew by, MB |",
        "| ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one['rows']:,} | {one['keys']:,} | {one['saved_mb']:.1f} | {one['grown_mb']:.0f} |"
        for one in saved
    ]
    grown = max(one["grown_mb"] for one in long[len(long) // 2 :]) - half["grown_mb"]
    lines += ["", f"Resident memory grew by {grown:.1f} MB at most over the second half."]
    return "\n".join(lines) + "\n"


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw memory and keys over the rows of the long log."""
    long = report["memory"]
    saved = [one for one in long if "saved_mb" in one]
    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 5), sharex=True, layout="constrained")
    millions = [one["rows"] / 1e6 for one in long]
    above.plot(
        millions, [one["grown_mb"] for one in long], color="tab:blue", label="what the process grew by"
    )
    above.plot(
        [one["rows"] / 1e6 for one in saved],
        [one["saved_mb"] for one in saved],
        color="tab:orange",
        marker="o",
        label="saved state",
    )
    above.set_ylabel("MB")
    above.set_ylim(0)
    above.legend(frameon=False)
    below.plot(millions, [one["keys"] / 1e3 for one in long], color="tab:green")
    below.set_ylabel("keys of all features, thousands")
    below.set_ylim(0)
    below.set_xlabel(f"million rows; every {report['rows'] / 1e6:.2f} million all ids are new")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def measured_memory(spec: RankerSpec, rows: Rows) -> list[dict[str, float]]:
    """In a process of its own, whose memory is this alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(memory, (spec, rows))


def main() -> None:
    """Measure everything, print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=BESIDE, help="Folder of KuaiRand-Pure.")
    parser.add_argument("--rounds", type=int, default=2 if QUICK else 5)
    parser.add_argument("--training-rows", type=int, default=5_000 if QUICK else 30_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()

    spec, source = load_spec("kuairand"), KuaiRandSource(demand(given.data))
    batches = list(source.batches(BATCH))[: 5 if QUICK else None]
    rows = Rows(spec, batches)
    small = spec.training.batch_size
    step_batches = pa.Table.from_batches(batches).combine_chunks().to_batches(small)
    speeds = training_speed(spec, step_batches[: given.training_rows // small], given.rounds)
    took = look_up_ms(spec, rows)
    report: dict[str, Any] = {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "rows": len(rows),
        "state_rows_per_s": state_speed(spec, rows, given.rounds),
        "training_rows_per_s": speeds,
        "training_share": max(speeds["with"]) / max(speeds["without"]),
        "look_up_ms": {f"p{p}": float(np.percentile(took, p)) for p in (50, 99)},
        "memory": measured_memory(spec, rows),
    }
    print(markdown(report))
    if not QUICK:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "feature_state.json").write_text(json.dumps(report, indent=2) + "\n")
        (given.out / "feature_state.md").write_text(markdown(report))
        draw(report, given.out / "feature_state.png")


if __name__ == "__main__":
    main()
