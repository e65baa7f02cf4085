"""The figures of a soak, and the promises that were broken."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from load_tests.soaking.events import STORE_AWAY, Event
from load_tests.soaking.verify import Verified

BIN_S: Final = 10.0
NORMAL_S: Final = 2.0
"""Time after the return of Redis from which on no answer may be degraded."""
VISIBLE_S: Final = 1.0
"""Time after a write from which on all rankings must show it."""
TAKEN_UP_S: Final = 5.0
"""Time in which the service must rank with a newer state."""
WARM_UP: Final = 0.2
"""Share of the run that says nothing of memory."""
MIN_MEMORY_RUN_S: Final = 540.0
"""In shorter runs, growth of memory is not checked, because most of the run is warm-up."""
MAX_GROWTH: Final = 0.05
"""Allowed growth of the memory per hour, as a share."""
Figures = dict[str, Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """All answers of the load, sorted by `due`; arrays have one item per answer.

    Attributes:
        due: `monotonic()` at which the request was due.
        ms: Milliseconds from then to the answer.
        status: Status of the answer; 0 for no answer.
        version: Version of the bundle in the answer.
        degraded: Whether the answer is degraded.
        known: Whether the viewer's features were known.
    """

    due: Floats
    ms: Floats
    status: NDArray[np.int64]
    version: NDArray[np.str_]
    degraded: NDArray[np.bool_]
    known: NDArray[np.bool_]

    @classmethod
    def read(cls, path: Path) -> "Answers":
        """Read the client's `answers.jsonl`."""
        with path.open("rb") as lines:
            due, ms, status, version, degraded, known = zip(*sorted(map(orjson.loads, lines)), strict=True)
        return cls(
            np.array(due),
            np.array(ms),
            np.array(status),
            np.array(version),
            np.array([bool(words) for words in degraded]),
            np.array(known),
        )

    @property
    def done(self) -> Floats:
        """`monotonic()` at which each answer was complete."""
        return self.due + self.ms / 1e3


def figures(
    answers: Answers,
    events: Sequence[Event],
    memory: list[tuple[float, int]],
    writes: Counter[int],
    verified: Verified,
    good: set[str],
    start: float,
) -> Figures:
    """Compute the figures of a run; times in the result are seconds from the start.

    Args:
        answers: All answers.
        events: All events.
        memory: Readings of the memory: `monotonic()` and bytes.
        writes: Number of PUTs of stored values by status.
        verified: Result of recomputing the sample.
        good: Versions that may rank.
        start: `monotonic()` of the first request.
    """
    ok = answers.status == 200
    seconds = float(answers.due[-1] - start)
    found: Figures = {
        "seconds": round(seconds, 1),
        "sent": len(ok),
        "failed": int((~ok).sum()),
        "statuses": {str(s): n for s, n in sorted(Counter(answers.status.tolist()).items())},
        "p50_ms": _percentile(answers.ms[ok], 50),
        "p99_ms": _percentile(answers.ms[ok], 99),
        "p999_ms": _percentile(answers.ms[ok], 99.9),
        "mixed_versions": int((~np.isin(answers.version[ok], list(good))).sum()) + len(verified.wrong),
        "verified": verified.answers,
        "wrong": verified.wrong[:10],
        "largest_difference": round(verified.largest, 5),
        "told_apart": round(verified.told_apart, 4),
        "states_told_apart": round(verified.states_told_apart, 4),
        "degraded": int(answers.degraded.sum()),
        "writes": {str(status): count for status, count in sorted(writes.items())},
        "events": [
            _event(event, answers, start) | {"memory_step_mb": step}
            for event, step in zip(events, memory_steps(np.array(memory, float), events), strict=True)
        ],
        "bins": _bins(answers, ok, start),
        "memory": [(round(at - start, 1), round(size / 1e6, 1)) for at, size in memory],
    }
    return found | growth(np.array(memory, float), events, start, seconds)


def broken(found: Figures) -> list[str]:
    """Return the promises that were broken, as sentences."""
    wrong = []
    if found["failed"]:
        wrong.append(f"{found['failed']} requests failed: {found['statuses']}")
    if found["mixed_versions"]:
        wrong.append(f"{found['mixed_versions']} answers of a wrong version: {found['wrong']}")
    for event in found["events"]:
        where = f"{event['what']} at {event['at']:.0f} s"
        if event["failed"]:
            wrong.append(f"{where}: {event['failed']}")
        elif event["what"].startswith("redis") and event["normal_after_s"] > NORMAL_S:
            wrong.append(f"{where}: answers are normal {event['normal_after_s']} s after the return")
        elif event["what"] == "write" and event["seconds"] > VISIBLE_S:
            wrong.append(f"{where}: visible after {event['seconds']} s")
        elif event["what"] == "state" and event["seconds"] > TAKEN_UP_S:
            wrong.append(f"{where}: taken up after {event['seconds']} s")
        elif event["what"] == "damaged" and event["answers"]:
            wrong.append(f"{where}: it ranked")
    strange = {s: n for s, n in found["writes"].items() if s not in ("204", str(STORE_AWAY))}
    if strange:
        wrong.append(f"writes were answered with {strange}")
    if found["seconds"] >= MIN_MEMORY_RUN_S and found["growth_mb_h"][1] > MAX_GROWTH * found["memory_mb"]:
        wrong.append(
            f"memory grows by {found['growth_mb_h'][0]} MB an hour after everything has happened once"
        )
    return wrong


def _event(event: Event, answers: Answers, start: float) -> Figures:
    described: Figures = {
        "what": event.what,
        "at": round(event.at - start, 2),
        "until": round(event.until - start, 2),
        "version": event.version,
        "part": event.part,
        "seconds": None if event.seconds is None else round(event.seconds, 3),
        "failed": event.failed,
    }
    if event.version is not None:
        described["answers"] = int((answers.version == event.version).sum())
    if event.what.startswith("redis"):
        during = answers.degraded & (answers.done >= event.at)
        during &= answers.due <= event.until + 5 * NORMAL_S
        described["degraded"] = int(during.sum())
        last = float(answers.done[during].max(initial=event.until))
        described["normal_after_s"] = round(last - event.until, 2)
    return described


def _bins(answers: Answers, ok: NDArray[np.bool_], start: float) -> list[Figures]:
    """Compute latency in windows of ten seconds, by the time at which requests were due."""
    of = ((answers.due - start) // BIN_S).astype(int)
    return [
        {
            "at": float(index * BIN_S),
            "answers": int((mine := ok & (of == index)).sum()),
            "p50_ms": _percentile(answers.ms[mine], 50),
            "p99_ms": _percentile(answers.ms[mine], 99),
        }
        for index in range(int(of.max()) + 1)
    ]


def growth(memory: Floats, events: Sequence[Event], start: float, seconds: float) -> Figures:
    """Compute the median slopes of memory with their 95 % intervals; swaps are outliers.

    `growth_mb_h` is that after every kind of event has happened once, from `grown_since_s` on: code that is
    compiled, and room that the largest request needs, are taken once. `growth_after_warm_up_mb_h` is that of
    everything after the warm-up.

    Args:
        memory: (N, 2) readings: `monotonic()` and bytes.
        events: All events.
        start: `monotonic()` of the first request.
        seconds: Length of the run.
    """
    warm_s = WARM_UP * seconds
    firsts: dict[str, float] = {}
    for event in events:
        firsts.setdefault(event.what, event.until - start)
    once_s = max([warm_s, *firsts.values()])
    found, median_mb = _growth_since(memory, start + once_s)
    return {
        "memory_mb": median_mb,
        "growth_mb_h": found,
        "grown_since_s": round(once_s, 1),
        "growth_after_warm_up_mb_h": _growth_since(memory, start + warm_s)[0],
    }


def _growth_since(memory: Floats, since: float) -> tuple[tuple[float, float, float], float]:
    """Return the slope of memory from a time on, in MB an hour, with its interval, and the median in MB."""
    after = memory[memory[:, 0] > since]
    if len(after) < 10:
        return (0.0, 0.0, 0.0), 0.0
    low, slope, high = _slope(after[:, 0] / 3600, after[:, 1] / 1e6)
    median_mb = round(float(np.median(after[:, 1])) / 1e6, 1)
    return (round(slope, 1), round(low, 1), round(high, 1)), median_mb


def memory_steps(memory: Floats, events: Sequence[Event]) -> list[float | None]:
    """By how many MB memory differs before and after each event; None where it was not read between two.

    Compared are the least readings since the event before and until the next one: a swap has two models for a
    moment.

    Args:
        memory: (N, 2) readings: `monotonic()` and bytes.
        events: All events, in order.
    """
    ends = [-math.inf, *(event.until for event in events)]
    begins = [*(event.at for event in events), math.inf]
    least = [
        memory[(memory[:, 0] > end) & (memory[:, 0] < begin), 1].min(initial=math.inf) / 1e6
        for end, begin in zip(ends, begins, strict=True)
    ]
    return [
        round(after - before, 1) if max(before, after) < math.inf else None
        for before, after in pairwise(least)
    ]


def _slope(x: Floats, y: Floats) -> tuple[float, float, float]:
    """Return the median slope between pairs of points, between the ends of its 95 % interval.

    Source: Sen, JASA 1968, https://doi.org/10.1080/01621459.1968.10480934.
    """
    first, second = np.triu_indices(len(x), 1)
    slopes = np.sort((y[second] - y[first]) / (x[second] - x[first]))
    reach = 1.96 * np.sqrt(len(x) * (len(x) - 1) * (2 * len(x) + 5) / 18)
    low, high = (len(slopes) - reach) / 2, (len(slopes) + reach) / 2
    ends = np.clip([low, high], 0, len(slopes) - 1).astype(int)
    return float(slopes[ends[0]]), float(np.median(slopes)), float(slopes[ends[1]])


def _percentile(values: Floats, wanted: float) -> float | None:
    return round(float(np.percentile(values, wanted)), 2) if len(values) else None
