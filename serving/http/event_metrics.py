"""Numbers about impressions, events and their log, in the exposition format of Prometheus."""

from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

ImpressionOutcome = Literal["written", "buffered", "dropped", "refused"]


class EventMetrics:
    """What becomes of impressions and events.

    Args:
        registry: Collects the numbers.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        impressions = Counter(
            "watchnext_impressions_total",
            "Impressions: written to the log of events; buffered until Redis takes them, and then written; "
            "dropped because too many waited; refused because the log is full.",
            ["outcome"],
            registry=registry,
        )
        self._impressions = {outcome: impressions.labels(outcome) for outcome in get_args(ImpressionOutcome)}
        self._impressions_waiting = Gauge(
            "watchnext_impressions_waiting",
            "Impressions that are not written yet.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._events_written = Counter(
            "watchnext_events_written_total", "Events that were written to the log.", registry=registry
        )
        self._events_rejected = Counter(
            "watchnext_events_rejected_total",
            "Events that the service set aside.",
            ["reason"],
            registry=registry,
        )
        self._event_log = Gauge(
            "watchnext_event_log_entries",
            "Entries of the log of events, as last known.",
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self._events_dropped = Counter(
            "watchnext_event_log_dropped_total",
            "Oldest entries of the log of events that were dropped because it had too many.",
            registry=registry,
        )

    def impressions(self, outcome: ImpressionOutcome, count: int) -> None:
        """Count impressions by what became of them."""
        self._impressions[outcome].inc(count)

    def impressions_waiting(self, count: int) -> None:
        """Set how many impressions are not written yet."""
        self._impressions_waiting.set(count)

    def events_written(self, count: int) -> None:
        """Count events that were written to the log."""
        self._events_written.inc(count)

    def events_rejected(self, reason: str, count: int) -> None:
        """Count events that were set aside for one reason."""
        self._events_rejected.labels(reason).inc(count)

    def event_log(self, entries: int) -> None:
        """Set how many entries the log of events has."""
        self._event_log.set(entries)

    def events_dropped(self, entries: int) -> None:
        """Count entries that the log of events lost because it had too many."""
        self._events_dropped.inc(entries)
