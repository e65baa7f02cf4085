"""Measurements of the state alone, of training with and without it, of look-ups, and of memory."""

import multiprocessing
from time import perf_counter
from typing import Final

import numpy as np
import psutil
import pyarrow as pa

from load_tests.states.rows import Rows
from ranker.events import VIDEO_ID
from ranker.features.encoder import Encoder
from ranker.features.sides import Group, Side
from ranker.features.state.feature_state import FeatureState
from ranker.spec import RankerSpec
from training.trainer import Trainer

CANDIDATES: Final = 500
COPIES: Final = 10
"""Copies of the log in the measurement of memory."""


def state_speed(spec: RankerSpec, rows: Rows, rounds: int) -> list[float]:
    """Measure rows per second of the state alone, by round, without the first one, which compiles."""
    speeds = []
    for _ in range(rounds + 1):
        state, begun = _fresh_state(spec), perf_counter()
        for part in rows.parts:
            state.replay(part.words, rows.records, part.times, part.labels)
        speeds.append(len(rows) / (perf_counter() - begun))
    return speeds[1:]


def training_speed(spec: RankerSpec, batches: list[pa.RecordBatch], rounds: int) -> dict[str, list[float]]:
    """Measure rows per second of training with and without features of the state, in turn."""
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


def look_up_ms(spec: RankerSpec, rows: Rows, look_ups: int) -> list[float]:
    """Measure milliseconds of look-ups of a viewer with 500 candidates, whose records are in memory."""
    state = _fresh_state(spec)
    for part in rows.parts:
        state.replay(part.words, rows.records, part.times, part.labels)
    random, last = np.random.default_rng(0), rows.parts[-1]
    every = np.concatenate([part.words for part in rows.parts])
    (video,) = [rows.records.first_word(f) for f in spec.side(Side.CANDIDATE) if f.name == VIDEO_ID]
    candidates = every[np.unique(every[:, video], return_index=True)[1]]
    viewer = [rows.records.first_word(f) for f in spec.side(Side.USER, Side.QUERY, Side.CONTEXT, Side.BIAS)]
    took = []
    for _ in range(look_ups):
        words = candidates[random.choice(len(candidates), CANDIDATES, replace=False)]
        words[:, viewer] = words[0, viewer]
        times = np.full(CANDIDATES, last.times[-1] + 1)
        begun = perf_counter()
        state.look_up(Group.REQUEST, words[:1], rows.records, times[:1])
        state.look_up(Group.PAIR, words, rows.records, times)
        took.append(1000 * (perf_counter() - begun))
    return took


def memory(spec: RankerSpec, rows: Rows, capacity: int) -> list[dict[str, float]]:
    """Measure memory over ten copies of a log, in a process that has nothing else in memory.

    Args:
        spec: The spec with the features.
        rows: The log.
        capacity: Capacity of every feature of the state, in keys.

    Returns:
        For each batch, `rows` so far, `keys` in the state, and `grown_mb`, the growth of the process; after
        the last batch of each copy also `saved_mb`, the size of the saved state.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory, (spec, rows, capacity))


def _memory(spec: RankerSpec, rows: Rows, capacity: int) -> list[dict[str, float]]:
    bounded = tuple(
        f.model_copy(update={"capacity": capacity}) if "capacity" in type(f).model_fields else f
        for f in spec.state_features
    )
    columns = tuple(f for f in spec.features if f not in spec.state_features)
    state = _fresh_state(spec.model_copy(update={"features": (*columns, *bounded)}))
    before_mb, seen, found = _resident_mb(), 0, []
    for part in rows.longer(spec, COPIES):
        state.replay(part.words, rows.records, part.times, part.labels)
        seen += len(part.times)
        one: dict[str, float] = {"rows": seen, "grown_mb": _resident_mb() - before_mb, "keys": len(state)}
        if len(found) % len(rows.parts) == len(rows.parts) - 1:
            one["saved_mb"] = sum(array.nbytes for array in state.state().values()) / 1e6
        found.append(one)
    return found


def _resident_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


def _fresh_state(spec: RankerSpec) -> FeatureState:
    return Encoder(spec).feature_state
