"""Events that were set aside, and why: counts by reason, and the latest ones to look at.

They are counted at least once: a reader of the log that is killed may count some again.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson
import redis
import redis.asyncio

from ranker.errors import StoreError
from ranker.store.keys import rejected_counts_key, rejected_key
from ranker.stream.event_log import EntryId
from ranker.stream.feedback import Event, Reason

KEPT: Final = 10_000
"""Events that can be looked at."""


class Rejected(NamedTuple):
    """An event that was set aside.

    Attributes:
        at_ms: When, Unix epoch in milliseconds.
        reason: Why.
        event: The event.
    """

    at_ms: int
    reason: str
    event: Event


def queue_rejected(
    pipeline: redis.client.Pipeline | redis.asyncio.client.Pipeline,
    rejected: Sequence[tuple[Reason, Event]],
) -> None:
    """Queue the commands that count some events and keep the latest.

    Args:
        pipeline: To queue in.
        rejected: Each with why.
    """
    for reason, event in rejected[-KEPT:]:
        fields: dict[Any, Any] = {"reason": reason.value, "event": orjson.dumps(tuple(event))}
        pipeline.xadd(rejected_key(), fields, maxlen=KEPT, approximate=True)
    for reason in {reason for reason, _ in rejected}:
        count = sum(1 for why, _ in rejected if why is reason)
        pipeline.hincrby(rejected_counts_key(), reason.value, count)


def rejected_counts(client: redis.Redis) -> dict[str, int]:
    """How many events were set aside, by reason.

    Raises:
        StoreError: Redis does not answer.
    """
    try:
        found: Any = client.hgetall(rejected_counts_key())
    except redis.RedisError as error:
        raise StoreError(f"{rejected_counts_key()}: expected Redis to answer, found {error}") from error
    return {reason.decode(errors="replace"): int(count) for reason, count in found.items()}


def latest_rejected(client: redis.Redis, count: int) -> list[Rejected]:
    """The latest events that were set aside, the newest first.

    Raises:
        StoreError: Redis does not answer.
    """
    try:
        found: Any = client.xrevrange(rejected_key(), count=count)
    except redis.RedisError as error:
        raise StoreError(f"{rejected_key()}: expected Redis to answer, found {error}") from error
    return [
        Rejected(
            EntryId.of(number).ms,
            fields[b"reason"].decode(errors="replace"),
            Event(*orjson.loads(fields[b"event"])),
        )
        for number, fields in found
    ]
