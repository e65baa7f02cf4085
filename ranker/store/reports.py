"""What trainers and services say of themselves, for `watchnext status` and for metrics.

Each writes its newest report over the one before, under its name; a report that is old is of one that ended.
"""

from typing import Any, Final, TypeVar

import redis
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ranker.errors import StoreError
from ranker.store.keys import service_reports_key, trainer_reports_key

GONE_S: Final = 86_400.0
"""A report that is older is removed by whoever reads it."""
GONE_SERVICE_S: Final = 600.0
"""So is one of a service's process, which has another name when it comes back."""


class Alarm(BaseModel):
    """Something that is not as it was.

    Attributes:
        kind: What it is about, in a word or two, such as `calibration`.
        about: The head, column or reader.
        expected: What was expected.
        found: What was found.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    about: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.kind}, {self.about}: expected {self.expected}, found {self.found}"


class Report(BaseModel):
    """What all reports say.

    Attributes:
        at_ms: When it was written, Unix epoch in milliseconds.
        model_version: What ranks, or what a trainer has published last; None for nothing yet.
        watermark_ms: Event time of the newest example that this model has learned.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_ms: int
    model_version: str | None
    watermark_ms: int | None


class TrainerReport(Report):
    """What a trainer that follows the log of events says.

    Attributes:
        rows: Examples that it has learned.
        learned_ms: Event time of the newest of them.
        held_back: Why the bundle of `held_back_version` was held back; nothing if none was since the last
            that was published.
        held_back_version: The newest bundle that was held back since then.
        heads: Figures of each head, by their names.
        columns: Figures of each column of features.
        alarms: What is not as it was.
        ended: Whether it was stopped in good order.
    """

    rows: int
    learned_ms: int | None
    held_back: tuple[str, ...] = ()
    held_back_version: str | None = None
    heads: dict[str, dict[str, float | None]] = Field(default_factory=dict)
    columns: dict[str, dict[str, float | None]] = Field(default_factory=dict)
    alarms: tuple[Alarm, ...] = ()
    ended: bool = False


class ServiceReport(Report):
    """What a process of a service says.

    Attributes:
        state_age_s: Time since the newest event that its feature state has seen; None without a state.
        refused_version: The registry's current version, if the process could not take it.
    """

    state_age_s: float | None
    refused_version: str | None = None


R = TypeVar("R", bound=Report)


def write_report(client: redis.Redis, name: str, report: TrainerReport) -> None:
    """Write a trainer's report.

    Raises:
        StoreError: Redis does not answer.
    """
    try:
        client.hset(trainer_reports_key(), name, report.model_dump_json())
    except redis.RedisError as error:
        raise StoreError(
            f"{trainer_reports_key()}: expected Redis to take a report, found {error}"
        ) from error


def trainer_reports(client: redis.Redis, now_ms: int) -> dict[str, TrainerReport]:
    """The reports of trainers by their names; those of long ago are removed.

    Raises:
        StoreError: Redis does not answer.
    """
    return _reports(client, trainer_reports_key(), TrainerReport, now_ms - GONE_S * 1000)


def service_reports(client: redis.Redis, now_ms: int) -> dict[str, ServiceReport]:
    """The reports of the processes of services by their names; those of long ago are removed.

    Raises:
        StoreError: Redis does not answer.
    """
    return _reports(client, service_reports_key(), ServiceReport, now_ms - GONE_SERVICE_S * 1000)


def parse_trainer_reports(found: dict[bytes, bytes]) -> dict[str, TrainerReport]:
    """The reports in a hash of Redis; what is none, such as one of another version, is left out."""
    return _parsed(found, TrainerReport)


def _reports(client: redis.Redis, key: str, kind: type[R], since_ms: float) -> dict[str, R]:
    try:
        found: Any = client.hgetall(key)
        reports = _parsed(found, kind)
        old = [name for name, report in reports.items() if report.at_ms < since_ms]
        if old:
            client.hdel(key, *old)
    except redis.RedisError as error:
        raise StoreError(f"{key}: expected Redis to answer, found {error}") from error
    return {name: report for name, report in sorted(reports.items()) if name not in old}


def _parsed(found: dict[bytes, bytes], kind: type[R]) -> dict[str, R]:
    reports = {}
    for name, content in found.items():
        try:
            reports[name.decode(errors="replace")] = kind.model_validate_json(content)
        except ValidationError:
            continue
    return reports
