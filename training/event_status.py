"""How the log of events stands: its size, its readers, and what was set aside."""

from collections.abc import Sequence
from typing import Final

import redis
from pydantic import BaseModel, ConfigDict

from ranker.errors import EventLogError
from ranker.stream.event_log import BEGINNING, EntryId
from ranker.stream.redis_event_log import RedisEventLog
from ranker.stream.rejected import rejected_counts

RECENT_ENTRIES: Final = 200
"""The newest entries, whose arrival says how many come in a minute."""
MINUTE_MS: Final = 60_000


class ReaderStatus(BaseModel):
    """A reader of the log.

    Attributes:
        name: Its name.
        needs_from: The first entry that it needs if it starts again.
        needs_age_s: Age of that entry; None if the log has nothing that it needs.
        lag_s: How far what it has learned or archived is behind the newest entry; None if it never said.
        lost: Whether entries that it needs were dropped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    needs_from: str
    needs_age_s: float | None
    lag_s: float | None
    lost: bool


class EventStatus(BaseModel):
    """The log of events.

    Attributes:
        entries: How many there are.
        first: The oldest; None if there is none.
        first_age_s: Its age.
        last: The newest that was ever written; None before the first.
        last_age_s: Its age.
        bytes: Memory that Redis needs for the log.
        entries_per_minute: How many came lately.
        readers: Who reads it.
        rejected: How many events were set aside, by reason.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    entries: int
    first: str | None
    first_age_s: float | None
    last: str | None
    last_age_s: float | None
    bytes: int
    entries_per_minute: float
    readers: list[ReaderStatus]
    rejected: dict[str, int]


def event_status(client: redis.Redis) -> EventStatus:
    """Ask how the log of events stands.

    Args:
        client: A connected client whose answers are bytes.

    Raises:
        StoreError: Redis does not answer.
    """
    log = RedisEventLog(client)
    extent, now_ms, done = log.extent(), log.now_ms(), log.done()
    readers = [
        _reader_status(log, name, needed, done.get(name), extent.last, now_ms)
        for name, needed in sorted(log.readers().items())
    ]
    return EventStatus(
        entries=extent.entries,
        first=None if extent.first is None else str(extent.first),
        first_age_s=_age_s(extent.first, now_ms),
        last=None if extent.last is None else str(extent.last),
        last_age_s=_age_s(extent.last, now_ms),
        bytes=log.size(),
        entries_per_minute=entries_per_minute(log.newest(RECENT_ENTRIES), now_ms),
        readers=readers,
        rejected=dict(sorted(rejected_counts(client).items())),
    )


def entries_per_minute(newest: Sequence[EntryId], now_ms: int) -> float:
    """How many entries came in the last minute; if that is more than is known, at their rate.

    Args:
        newest: Up to `RECENT_ENTRIES` entries, the newest first.
        now_ms: The log's clock.
    """
    within = sum(1 for entry in newest if entry.ms > now_ms - MINUTE_MS)
    if within < RECENT_ENTRIES:
        return float(within)
    return within * MINUTE_MS / max(1, now_ms - newest[-1].ms)


def _reader_status(
    log: RedisEventLog, name: str, needed: EntryId, done_ms: int | None, last: EntryId | None, now_ms: int
) -> ReaderStatus:
    try:
        first = log.read(BEGINNING if needed == BEGINNING else needed.previous(), count=1)
        lost = False
    except EventLogError:
        first, lost = [], True
    return ReaderStatus(
        name=name,
        needs_from=str(needed),
        needs_age_s=_age_s(first[0].id, now_ms) if first else None,
        lag_s=None if done_ms is None or last is None else max(0, last.ms - done_ms) / 1000,
        lost=lost,
    )


def _age_s(entry: EntryId | None, now_ms: int) -> float | None:
    return None if entry is None else max(0, now_ms - entry.ms) / 1000
