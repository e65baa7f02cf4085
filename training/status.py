"""How the live loop stands: the log of events, trainers, services, the bundle that ranks, and alarms."""

from typing import Final

import redis
from pydantic import BaseModel, ConfigDict

from ranker.bundles.registry import Registry
from ranker.errors import BundleError
from ranker.store.reports import Alarm, ServiceReport, TrainerReport, service_reports, trainer_reports
from ranker.stream import feedback
from ranker.stream.event_log import BEGINNING, Kind
from ranker.stream.redis_event_log import RedisEventLog
from ranker.stream.rejected import KEPT, latest_rejected
from training.event_status import RECENT_ENTRIES, EventStatus, event_status
from training.progress import duration

MAX_LAG_S: Final = 900.0
"""A reader of the log that is further behind is late."""
MAX_MODEL_AGE_S: Final = 3600.0
"""So is a bundle that ranks while the log has entries that are so much younger."""
MAX_SILENCE_S: Final = 60.0
"""A trainer or service that has said nothing for longer has ended, or hangs."""
MAX_REJECTED: Final = 0.05
"""Share of the latest events that may be set aside."""
MIN_EVENTS: Final = 50
"""Of fewer events no share is said."""


class BundleStatus(BaseModel):
    """The bundle that ranks.

    Attributes:
        model_version: Its name.
        age_s: Time since the newest example that it has learned; None if it has learned none.
        behind_s: By how much that example is older than the newest entry of the log; None without either.
        held_back: Newer bundles that were held back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_version: str
    age_s: float | None
    behind_s: float | None
    held_back: list[str]


class LoopStatus(BaseModel):
    """The live loop.

    Attributes:
        now_ms: The clock of Redis, Unix epoch in milliseconds.
        events: The log of events.
        rejected_share: How many events were set aside since the oldest of the latest entries, as a share of
            those that these entries have; None if there were too few.
        trainers: What trainers say, by name.
        services: What processes of services say, by host and process.
        bundle: What ranks; None without a registry, or if it has none that can be read.
        alarms: What is not as it should be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    now_ms: int
    events: EventStatus
    rejected_share: float | None
    trainers: dict[str, TrainerReport]
    services: dict[str, ServiceReport]
    bundle: BundleStatus | None
    alarms: list[Alarm]


def loop_status(client: redis.Redis, registry: Registry | None) -> LoopStatus:
    """Ask how the live loop stands.

    Args:
        client: A connected client whose answers are bytes.
        registry: Where bundles are published; None to leave it out.

    Raises:
        StoreError: Redis does not answer.
        RegistryError: The registry cannot be read.
    """
    log = RedisEventLog(client)
    now_ms, events, last = log.now_ms(), event_status(client), log.extent().last
    rejected = _rejected_share(client, log)
    trainers, services = trainer_reports(client, now_ms), service_reports(client, now_ms)
    bundle = None if registry is None else _bundle(registry, now_ms, None if last is None else last.ms)
    alarms = _of_readers(events)
    for name, trainer in trainers.items():
        alarms += _of_trainer(name, trainer, now_ms)
    for name, service in services.items():
        alarms += _of_service(name, service, now_ms, bundle)
    return LoopStatus(
        now_ms=now_ms,
        events=events,
        rejected_share=rejected,
        trainers=trainers,
        services=services,
        bundle=bundle,
        alarms=alarms + _of_bundle(bundle) + _of_rejected(rejected),
    )


def _rejected_share(client: redis.Redis, log: RedisEventLog) -> float | None:
    newest = log.newest(RECENT_ENTRIES)
    if not newest:
        return None
    oldest = newest[-1]
    entries = log.read(BEGINNING if oldest == BEGINNING else oldest.previous(), count=len(newest))
    taken = sum(
        len(feedback.from_bytes(entry.data, where=str(entry.id)))
        for entry in entries
        if entry.kind is Kind.FEEDBACK
    )
    aside = sum(1 for one in latest_rejected(client, KEPT) if one.at_ms >= oldest.ms)
    all_events = max(taken, aside)
    return None if all_events < MIN_EVENTS else aside / all_events


def _bundle(registry: Registry, now_ms: int, last_ms: int | None) -> BundleStatus | None:
    try:
        version = registry.current_or_none()
        manifest = None if version is None else registry.manifest(version)
    except BundleError:
        return None
    if manifest is None:
        return None
    learned_ms = manifest.watermark_ms
    others = [entry.manifest for entry in registry.entries() if entry.manifest is not None]
    return BundleStatus(
        model_version=manifest.model_version,
        age_s=None if learned_ms is None else (now_ms - learned_ms) / 1000,
        behind_s=None if learned_ms is None or last_ms is None else max(0, last_ms - learned_ms) / 1000,
        held_back=[
            other.model_version
            for other in others
            if other.held_back and other.created_ms > manifest.created_ms
        ],
    )


def _of_readers(events: EventStatus) -> list[Alarm]:
    alarms = []
    for reader in events.readers:
        if reader.lost:
            expected, found = "the log to have all that it needs", "some of it dropped"
            alarms.append(Alarm(kind="lost entries", about=reader.name, expected=expected, found=found))
        elif reader.lag_s is not None and reader.lag_s > MAX_LAG_S:
            alarms.append(_late("lag", reader.name, MAX_LAG_S, reader.lag_s))
    return alarms


def _of_trainer(name: str, report: TrainerReport, now_ms: int) -> list[Alarm]:
    alarms = list(report.alarms)
    if report.held_back:
        found = f"{report.held_back_version} held back: {'; '.join(report.held_back)}"
        alarms.append(Alarm(kind="held back", about=name, expected="the newest bundle to rank", found=found))
    silent_s = (now_ms - report.at_ms) / 1000
    if silent_s > MAX_SILENCE_S and not report.ended:
        alarms.append(_late("silent trainer", name, MAX_SILENCE_S, silent_s))
    return alarms


def _of_service(name: str, report: ServiceReport, now_ms: int, bundle: BundleStatus | None) -> list[Alarm]:
    silent_s = (now_ms - report.at_ms) / 1000
    if silent_s > MAX_SILENCE_S:
        return [_late("silent service", name, MAX_SILENCE_S, silent_s)]
    if bundle is None or report.refused_version != bundle.model_version:
        return []
    expected, found = f"{bundle.model_version} to rank", f"{report.model_version}, as it refused the other"
    return [Alarm(kind="refused bundle", about=name, expected=expected, found=found)]


def _of_bundle(bundle: BundleStatus | None) -> list[Alarm]:
    if bundle is None or bundle.behind_s is None or bundle.behind_s <= MAX_MODEL_AGE_S:
        return []
    return [_late("model age", bundle.model_version, MAX_MODEL_AGE_S, bundle.behind_s)]


def _of_rejected(share: float | None) -> list[Alarm]:
    if share is None or share <= MAX_REJECTED:
        return []
    expected = f"at most {MAX_REJECTED:.0%} of the latest events to be set aside"
    found = f"{share:.0%}; `watchnext events rejected` shows them"
    return [Alarm(kind="rejected", about="events", expected=expected, found=found)]


def _late(kind: str, about: str, most_s: float, found_s: float) -> Alarm:
    return Alarm(kind=kind, about=about, expected=f"at most {duration(most_s)}", found=duration(found_s))
