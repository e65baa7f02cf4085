"""Counters, gauges and histograms for Prometheus.

With one process the numbers live in it. With several, each writes its own to files in the folder that
`PROMETHEUS_MULTIPROC_DIR` names (`serving/processes/supervisor.py` sets it), and the process that answers a
scrape adds them up.
"""

import os
import platform
from importlib.metadata import version
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from serving.http.endpoints import OTHER
from serving.http.event_metrics import EventMetrics
from serving.http.watch_metrics import WatchMetrics

Phase = Literal["validate", "features", "queue", "model", "score", "impression", "respond"]
Replacement = Literal["done", "refused"]
RejectReason = Literal["overloaded", "deadline", "unauthenticated", "forbidden"]
DegradedReason = Literal["feature_store", "stored_features"]

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
CANDIDATES: Final = (1, 10, 50, 100, 200, 300, 400, 500, 600, 800, 1000)
BATCH_CANDIDATES: Final = (100, 200, 500, 1000, 2000, 4000, 8000)
BATCH_REQUESTS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 32)


class Metrics:
    """The metrics of one process; each method costs a microsecond or two.

    Args:
        paths: Paths that are values of the label `path`; all others are counted as `other`, so that requests
            for made-up paths cannot fill the memory.
    """

    def __init__(self, paths: frozenset[str]) -> None:
        self._paths = paths
        self._registry = registry = CollectorRegistry()
        phases = Histogram(
            "watchnext_phase_seconds",
            "Time of one ranking request in each phase.",
            ["phase"],
            buckets=SECONDS,
            registry=registry,
        )
        # Looked up once: looking a label up costs more than counting.
        self._phases = {phase: phases.labels(phase) for phase in get_args(Phase)}
        self._requests = Counter(
            "watchnext_requests_total", "Requests answered.", ["path", "status"], registry=registry
        )
        self._answered: dict[tuple[str, int], Counter] = {}
        self._request_seconds = Histogram(
            "watchnext_request_seconds",
            "Time from a request's head to the end of its answer.",
            ["path", "status"],
            buckets=(*SECONDS, 5, 10),
            registry=registry,
        )
        self._timed: dict[tuple[str, int], Histogram] = {}
        self._in_flight = Gauge(
            "watchnext_requests_in_flight",
            "Requests that are not answered yet.",
            ["path"],
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._queue = Gauge(
            "watchnext_queue_requests",
            "Ranking requests that wait for the model's thread.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._registry_look = Gauge(
            "watchnext_registry_last_look_timestamp_seconds",
            "When the registry last named its current bundle, in the process that is the furthest behind.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._changes_lag = Gauge(
            "watchnext_changes_lag_seconds",
            "Time since the process that is the furthest behind had all changes of videos.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        build = Gauge(
            "watchnext_build_info",
            "1; the labels say what runs.",
            ["version", "python", "torch"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        build.labels(version("watchnext"), platform.python_version(), version("torch")).set(1)
        self._candidates = Histogram(
            "watchnext_candidates", "Candidates of one request.", buckets=CANDIDATES, registry=registry
        )
        self._batch_requests = Histogram(
            "watchnext_batch_requests",
            "Requests that the model scored together.",
            buckets=BATCH_REQUESTS,
            registry=registry,
        )
        self._batch_candidates = Histogram(
            "watchnext_batch_candidates",
            "Candidates that the model scored together.",
            buckets=BATCH_CANDIDATES,
            registry=registry,
        )
        lookups = Counter(
            "watchnext_catalogue_lookups_total",
            "Candidates looked up among the resident videos.",
            ["result"],
            registry=registry,
        )
        self._hits, self._misses = lookups.labels("hit"), lookups.labels("miss")
        self._store_errors = Counter(
            "watchnext_feature_store_errors_total", "Failed calls of the feature store.", registry=registry
        )
        self._store_answers = Gauge(
            "watchnext_feature_store_answers",
            "1 while Redis answers, in the process that is the worst off.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._undecodable = Counter(
            "watchnext_undecodable_total",
            "Stored records, states and announcements that could not be read and were left out.",
            registry=registry,
        )
        self._degraded = Counter(
            "watchnext_degraded_seconds_total",
            "Time spent without something that a ranking should have.",
            ["reason"],
            registry=registry,
        )
        self._swaps = Counter(
            "watchnext_swaps_total", "Bundles that were to replace another.", ["result"], registry=registry
        )
        self._rejects = Counter(
            "watchnext_rejects_total", "Requests turned away.", ["reason"], registry=registry
        )
        self._models = Gauge(
            "watchnext_model_processes",
            "Processes that rank with this version.",
            ["model_version"],
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._model_version: str | None = None
        self._resident = Gauge(
            "watchnext_resident_videos",
            "Videos resident in the process that has the fewest.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._state_age = Gauge(
            "watchnext_state_age_seconds",
            "Time since the newest event that rates, histories and ages know of, in the process that is the "
            "furthest behind.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._state_loads = Counter(
            "watchnext_state_loads_total",
            "Feature states that were to replace an older one.",
            ["result"],
            registry=registry,
        )
        self.events = EventMetrics(registry)
        self.watch = WatchMetrics(registry)
        for reason in get_args(RejectReason):  # Prometheus computes rates only from a first value, zero
            self._rejects.labels(reason)
        for result in get_args(Replacement):
            self._swaps.labels(result)
            self._state_loads.labels(result)
        for reason in get_args(DegradedReason):
            self._degraded.labels(reason)

    def phase(self, phase: Phase, seconds: float) -> None:
        """Record the seconds of a phase: once a request, but `features` twice if its videos were evicted."""
        self._phases[phase].observe(seconds)

    def request(self, path: str, status: int, seconds: float | None = None) -> None:
        """Count an answered request.

        Args:
            path: See `label_of`.
            status: Of the answer.
            seconds: How long it took; None for one that was refused at once, and is not timed.
        """
        key = (self._label(path), status)
        if key not in self._answered:
            self._answered[key] = self._requests.labels(*key)
        self._answered[key].inc()
        if seconds is not None:
            if key not in self._timed:
                self._timed[key] = self._request_seconds.labels(*key)
            self._timed[key].observe(seconds)

    def in_flight(self, path: str, change: int) -> None:
        """Note that a request has come (1) or was answered (-1)."""
        self._in_flight.labels(self._label(path)).inc(change)

    def queue(self, length: int) -> None:
        """Set how many ranking requests wait for the model's thread."""
        self._queue.set(length)

    def registry_look(self, at_s: float) -> None:
        """Set when the registry was last asked and answered, Unix epoch in seconds."""
        self._registry_look.set(at_s)

    def changes_lag(self, seconds: float) -> None:
        """Set the seconds since all changes of videos were known."""
        self._changes_lag.set(seconds)

    def candidates(self, count: int) -> None:
        """Record the number of candidates of a request."""
        self._candidates.observe(count)

    def batch(self, requests: int, candidates: int) -> None:
        """Record a batch that the model scored together."""
        self._batch_requests.observe(requests)
        self._batch_candidates.observe(candidates)

    def catalogue(self, hits: int, misses: int) -> None:
        """Count how many of a request's videos were resident, and how many were not."""
        self._hits.inc(hits)
        self._misses.inc(misses)

    def feature_store_error(self) -> None:
        """Count a failed call of the feature store."""
        self._store_errors.inc()

    def feature_store(self, answers: bool) -> None:
        """Set whether the feature store answers."""
        self._store_answers.set(answers)

    def undecodable(self) -> None:
        """Count something stored that could not be read."""
        self._undecodable.inc()

    def degraded(self, reason: DegradedReason, seconds: float) -> None:
        """Add seconds during which rankings lacked something that they should have."""
        self._degraded.labels(reason).inc(seconds)

    def swap(self, result: Replacement) -> None:
        """Count a new bundle that replaced the old one, or was refused."""
        self._swaps.labels(result).inc()

    def reject(self, reason: RejectReason) -> None:
        """Count a request that was refused without being ranked."""
        self._rejects.labels(reason).inc()

    def model(self, version: str) -> None:
        """Set the version that ranks from now on."""
        if self._model_version is not None:
            self._models.labels(self._model_version).set(0)
        self._models.labels(version).set(1)
        self._model_version = version

    def resident_videos(self, count: int) -> None:
        """Set the number of resident videos."""
        self._resident.set(count)

    def state_age(self, seconds: float) -> None:
        """Set the seconds since the newest event that the feature state has seen; 0 without a state."""
        self._state_age.set(seconds)

    def state_load(self, result: Replacement) -> None:
        """Count a feature state that replaced the old one, or was refused."""
        self._state_loads.labels(result).inc()

    def _label(self, path: str) -> str:
        return path if path in self._paths else OTHER

    def exposition(self) -> bytes:
        """Render all metrics in Prometheus' text format, version 0.0.4, in UTF-8."""
        registry = self._registry
        if FOLDER_VARIABLE in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
