"""What a soak found, in figures, and which of them break a promise."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from load_tests.soaking.events import STORE_AWAY, Event
from load_tests.soaking.verify import Verified

BIN_S: Final = 10.0
NORMAL_S: Final = 2.0
"""After so long from the return of Redis, no answer may be degraded."""
VISIBLE_S: Final = 1.0
"""After so long, every ranking must show a written video."""
TAKEN_UP_S: Final = 5.0
"""After so long, every ranking must know what a newer state knows."""
WARM_UP: Final = 0.2
"""Share of the time that memory may still grow."""
JUDGED_S: Final = 540.0
"""A run must take so long for its memory to be judged: in a shorter one, warming up is most of it."""
MOST_GROWTH: Final = 0.05
"""Share of the memory that an hour may add."""
Figures = dict[str, Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """Every answer of the load, in the order of `due`.

    Attributes:
        due: `monotonic()` when the request was due.
        ms: From then to the answer.
        status: 0 for no answer.
        version: The bundle that ranked.
        degraded: Whether the answer says so.
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
        """Read what the client wrote."""
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
        """`monotonic()` when each came."""
        return self.due + self.ms / 1e3


def figures(
    answers: Answers,
    events: Iterable[Event],
    memory: list[tuple[float, int]],
    writes: Counter[int],
    verified: Verified,
    good: set[str],
    start: float,
) -> Figures:
    """Put together what was found; times are seconds from the start.

    Args:
        answers: Of the whole run.
        events: What was done.
        memory: `monotonic()` and bytes.
        writes: PUTs that stored what is stored already, by status.
        verified: Of the sample.
        good: The versions that may rank.
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
        "events": [_event(event, answers, start) for event in events],
        "bins": _bins(answers, ok, start),
        "memory": [(round(at - start, 1), round(size / 1e6, 1)) for at, size in memory],
    }
    return found | _growth(np.array(memory, float), start, seconds)


def broken(found: Figures) -> list[str]:
    """The promises that were not kept."""
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
    if found["seconds"] >= JUDGED_S and found["growth_mb_h"][1] > MOST_GROWTH * found["memory_mb"]:
        wrong.append(f"memory grows by {found['growth_mb_h'][0]} MB an hour")
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
    """Latency by the ten seconds in which requests were due."""
    of = ((answers.due - start) // BIN_S).astype(int)
    return [
        {
            "at": float(place * BIN_S),
            "answers": int((mine := ok & (of == place)).sum()),
            "p50_ms": _percentile(answers.ms[mine], 50),
            "p99_ms": _percentile(answers.ms[mine], 99),
        }
        for place in range(int(of.max()) + 1)
    ]


def _growth(memory: Floats, start: float, seconds: float) -> Figures:
    """The slope of memory after warming up, with a 95 % interval (a median: swaps are outliers)."""
    after = memory[memory[:, 0] - start > WARM_UP * seconds]
    if len(after) < 10:
        return {"memory_mb": 0.0, "growth_mb_h": (0.0, 0.0, 0.0)}
    low, slope, high = _slope(after[:, 0] / 3600, after[:, 1] / 1e6)
    return {
        "memory_mb": round(float(np.median(after[:, 1])) / 1e6, 1),
        "growth_mb_h": (round(slope, 1), round(low, 1), round(high, 1)),
    }


def _slope(x: Floats, y: Floats) -> tuple[float, float, float]:
    """The median slope between any two points, between the ends of its 95 % interval.

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
