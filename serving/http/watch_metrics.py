"""What watchdogs say, in the exposition format of Prometheus: the trainer has no exporter of its own."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

from ranker.store.reports import TrainerReport


class WatchMetrics:
    """The age of the model, and the newest reports of trainers.

    Args:
        registry: Collects the numbers.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._model_age = Gauge(
            "watchnext_model_age_seconds",
            "Time since the newest example that the model which ranks has learned, in the process of the "
            "oldest.",
            multiprocess_mode="livemax",
            registry=registry,
        )

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(
                f"watchnext_trainer_{name}",
                meaning,
                ["trainer", *labels],
                multiprocess_mode="livemostrecent",
                registry=registry,
            )

        self._learned = gauge(
            "learned_timestamp_seconds", "Event time of the newest example that a trainer has learned."
        )
        self._age = gauge("report_age_seconds", "Time since a trainer last said how it stands.")
        self._held_back = gauge(
            "held_back", "1 if the newest bundle of a trainer was held back, otherwise 0."
        )
        self._alarms = gauge(
            "alarm",
            "1 while an alarm of a trainer's watchdogs is raised, 0 once it is over.",
            "kind",
            "about",
        )
        self._heads = gauge(
            "head",
            "Figures of a head on a trainer's newest rows: calibration, entropy of its gate, share of its "
            "most used expert.",
            "head",
            "figure",
        )
        self._columns = gauge(
            "column",
            "Figures of a column of features in a trainer's newest rows: the share that is missing, that was "
            "missing before, and the stability index to the same hour of earlier days.",
            "column",
            "figure",
        )
        self._raised: set[tuple[str, str, str]] = set()

    def model_age(self, seconds: float) -> None:
        """Set the time since the newest example of the model that ranks."""
        self._model_age.set(seconds)

    def trainers(self, reports: Mapping[str, TrainerReport], now_s: float) -> None:
        """Take up what trainers say.

        Args:
            reports: By the trainers' names.
            now_s: Unix epoch in seconds.
        """
        raised: set[tuple[str, str, str]] = set()
        for name, report in reports.items():
            self._age.labels(name).set(now_s - report.at_ms / 1000)
            self._held_back.labels(name).set(bool(report.held_back))
            if report.learned_ms is not None:
                self._learned.labels(name).set(report.learned_ms / 1000)
            raised |= {(name, alarm.kind, alarm.about) for alarm in report.alarms}
            for gauge, all_figures in ((self._heads, report.heads), (self._columns, report.columns)):
                for about, figures in all_figures.items():
                    for figure, value in figures.items():
                        gauge.labels(name, about, figure).set(float("nan") if value is None else value)
        for labels in raised | self._raised:
            self._alarms.labels(*labels).set(labels in raised)
        self._raised |= raised
