"""What is known of a running loop, asked of its parts."""

import contextlib
import re
import time
import urllib.request
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import redis

from ranker.bundles.manifest import Manifest
from ranker.bundles.prune import prune
from ranker.bundles.registry import Registry
from ranker.errors import BundleError, EventLogError, RegistryError, StoreError
from training.event_status import EventStatus, event_status
from training.up.service import ready_version

KEPT_BUNDLES: Final = 20
RATE_OVER_S: Final = 10.0
TIMEOUT_S: Final = 2.0
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


YEAR_S: Final = 31_536_000.0


@dataclass(frozen=True)
class Figures:
    """How the loop stands.

    Attributes:
        requests_per_s: Rankings that were answered, lately; None while it is not known.
        events_per_s: Events that were written, lately.
        behind_s: How far what the trainer has on its disk is behind the newest entry of the log of events.
        entries: Entries of the log of events.
        rejected: Events that were set aside, by reason.
        serving: The model that ranks; None while the service does not answer.
        newest: The manifest of the bundle that was published last.
        published: Bundles that were published since the loop was started.
        heads: The newest window's progressive metrics of each head.
    """

    requests_per_s: float | None = None
    events_per_s: float | None = None
    behind_s: float | None = None
    entries: int | None = None
    rejected: dict[str, int] = field(default_factory=dict)
    serving: str | None = None
    newest: Manifest | None = None
    published: int = 0
    heads: list[dict[str, Any]] = field(default_factory=list)


def _plausible(lag_s: float | None) -> float | None:
    """A lag; None of a log that is played back, which goes by a clock of its own."""
    return None if lag_s is None or lag_s > YEAR_S else lag_s


class Watcher:
    """Asks the parts of a loop how they stand, and removes bundles that nobody will want.

    Args:
        url: Of the service.
        client: Of the Redis with the log of events.
        registry: Where bundles are published.
        reader: The trainer's name in the log of events.
        metrics: The file with the trainer's progressive metrics.
        clock: Seconds, of which rates are made.
    """

    def __init__(
        self,
        url: str,
        client: redis.Redis,
        registry: Registry,
        reader: str,
        metrics: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._client = client
        self._registry = registry
        self._reader = reader
        self._metrics = metrics
        self._clock = clock
        self._requests, self._events = _Rate(), _Rate()
        self._newest: Manifest | None = None
        self._published = 0
        with contextlib.suppress(RegistryError, BundleError):
            self._newest = registry.manifest(registry.current())

    def figures(self) -> Figures:
        """Ask once; what does not answer is left out."""
        counters, now = _counters(self._url), self._clock()
        events = self._event_status()
        reader = next((one for one in events.readers if one.name == self._reader), None) if events else None
        self._look_at_registry()
        return Figures(
            requests_per_s=self._requests.of(counters.get("requests"), now),
            events_per_s=self._events.of(counters.get("events"), now),
            behind_s=_plausible(reader.lag_s if reader else None),
            entries=events.entries if events else None,
            rejected=events.rejected if events else {},
            serving=ready_version(self._url),
            newest=self._newest,
            published=self._published,
            heads=newest_window(self._metrics),
        )

    def _event_status(self) -> EventStatus | None:
        with contextlib.suppress(StoreError, EventLogError, redis.RedisError):
            return event_status(self._client)
        return None

    def _look_at_registry(self) -> None:
        with contextlib.suppress(RegistryError, BundleError):
            version = self._registry.current_or_none()
            if version is not None and (self._newest is None or self._newest.model_version != version):
                self._newest = self._registry.manifest(version)
                self._published += 1
                prune(self._registry, keep=KEPT_BUNDLES)


def newest_window(metrics: Path) -> list[dict[str, Any]]:
    """Every head's metrics in the newest window that is over, else in the one that is open.

    Args:
        metrics: The file that a trainer writes.
    """
    try:
        table = pq.read_table(metrics)
    except (OSError, pa.ArrowException):
        return []
    newest_two = sorted(table["window_start_ms"].unique().to_pylist())[-2:]
    if not newest_two:
        return []
    rows: list[dict[str, Any]] = table.filter(pc.field("window_start_ms") == newest_two[0]).to_pylist()
    return rows


class _Rate:
    """How fast a counter has grown lately; one that begins anew is counted from there."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def of(self, count: float | None, now: float) -> float | None:
        if count is None or (self._seen and count < self._seen[-1][1]):
            self._seen.clear()
        if count is not None:
            self._seen.append((now, count))
        while len(self._seen) > 2 and self._seen[0][0] < now - RATE_OVER_S:
            self._seen.popleft()
        if len(self._seen) < 2:
            return None
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_s - first_s)


def _counters(url: str) -> dict[str, float]:
    """The service's counts of rankings and events; empty while it does not answer."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=TIMEOUT_S) as response:
            text = response.read().decode()
    except (OSError, ValueError):
        return {}
    found = {"requests": 0.0, "events": 0.0}
    for name, labels, value in _SAMPLE.findall(text):
        if name == "watchnext_requests_total" and 'path="/v1/rank"' in labels and 'status="200"' in labels:
            found["requests"] += float(value)
        elif name == "watchnext_events_written_total":
            found["events"] += float(value)
    return found
