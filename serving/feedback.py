"""Taking what viewers did: each event is checked, the plausible ones become one entry of the log."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from redis.asyncio.client import Pipeline

from ranker.did_you_mean import did_you_mean
from ranker.errors import LogFullError, StoreError
from ranker.event_times import TimeRange
from ranker.labels.label import Label
from ranker.store.keys import events_key, rejected_counts_key
from ranker.stream.event_log import Kind
from ranker.stream.feedback import MAX_VALUE, SHOWN, Event, Reason, to_bytes
from ranker.stream.redis_event_log import entry_fields
from ranker.stream.rejected import queue_rejected
from serving.event_requests import EventInput, EventsRequest
from serving.http.event_metrics import EventMetrics
from serving.http.turns import Steps, Turns
from serving.requests import MAX_CANDIDATES
from serving.sync.event_stream import EventStream
from serving.sync.hot_swap import HotSwap
from serving.sync.impression_writer import ImpressionWriter

FUTURE_MS: Final = 60_000
"""How far a caller's clock may be ahead of ours."""
EVENTS_PER_STEP: Final = 20
KEPT_PER_CALL: Final = 100
"""Events of a call that can be looked at once they were set aside; all are counted."""
MAX_GUESSES: Final = 50
"""Unknown kinds for which a similar one is looked for, as that takes its time."""


class Rejection(NamedTuple):
    """An event that is set aside.

    Attributes:
        place: Which of the call's events.
        reason: Why.
        event: The event.
        detail: What was expected, and what was found.
    """

    place: int
    reason: Reason
    event: Event
    detail: str


class FeedbackService:
    """Takes events.

    Args:
        models: Has the model that ranks, whose labels events may give.
        stream: The log of events.
        metrics: Counts events.
        turns: Given to one request after the other while the event loop works on what it carries.
        impressions: Writes impressions, after which feedback on them is to come; None if nothing does.
    """

    def __init__(
        self,
        models: HotSwap,
        stream: EventStream,
        metrics: EventMetrics,
        turns: Turns,
        impressions: ImpressionWriter | None = None,
    ) -> None:
        self._models = models
        self._stream = stream
        self._metrics = metrics
        self._turns = turns
        self._impressions = impressions
        for reason in (Reason.UNKNOWN_KIND, Reason.OUT_OF_RANGE, Reason.IMPLAUSIBLE_TIME):
            metrics.events_rejected(reason, 0)  # Prometheus computes rates only from a first value

    async def take(self, body: EventsRequest) -> dict[str, Any]:
        """Write the events of one call, all those that are plausible as one entry.

        Returns:
            An `EventsResponse` as plain values.

        Raises:
            LogFullError: The log is full; nothing was written.
            StoreAwayError: Redis is away; nothing was written.
            StoreError: Redis did not answer; it is not known whether anything was written. The same events
                may be sent again: each counts once.
        """
        labels = self._models.model.spec.feedback
        now_ms = time.time_ns() // 1_000_000
        accepted, rejected = await self._turns.take(0.0, checked(body.events, labels, now_ms=now_ms))
        if self._stream.full:
            raise LogFullError(
                "expected room in the log of events, found as many entries as it may have; nothing was "
                "written, so send the events again later"
            )
        if self._impressions is not None:
            await self._impressions.settle()
        pipeline = self._stream.pipeline(transaction=True)
        if accepted:
            pipeline.xadd(events_key(), entry_fields(Kind.FEEDBACK, to_bytes(accepted)))
        _queue(pipeline, rejected)
        for answer in await self._stream.write(pipeline, 1 if accepted else 0):
            if isinstance(answer, Exception):
                raise StoreError(f"{events_key()}: expected Redis to take events, found {answer}")
        self._metrics.events_written(len(accepted))
        for reason, count in Counter(rejection.reason for rejection in rejected).items():
            self._metrics.events_rejected(reason, count)
        return {
            "written": len(accepted),
            "rejected": [
                {"index": place, "event_id": event.event_id, "reason": reason.value, "detail": detail}
                for place, reason, event, detail in rejected
            ],
        }


def checked(
    events: Sequence[EventInput], labels: Iterable[Label], *, now_ms: int
) -> Steps[tuple[list[Event], list[Rejection]]]:
    """Tell plausible events from others, some a step.

    Args:
        events: As they came.
        labels: Those that events may give.
        now_ms: The present time, Unix epoch in milliseconds.

    Returns:
        The plausible ones, and the others with the reason.
    """
    ranges = {label.name: label.feedback_range for label in labels}
    ranges[SHOWN] = (0.0, float(MAX_CANDIDATES))
    times = TimeRange.plausible(now_ms, until_ms=now_ms + FUTURE_MS + 1)
    accepted: list[Event] = []
    rejected: list[Rejection] = []
    for place, given in enumerate(events):
        if place % EVENTS_PER_STEP == 0:
            yield
        kind, time_ms = given["kind"], given.get("time_ms")
        value = float(given.get("value", 0.0 if kind == SHOWN else 1.0))
        event = Event(given["event_id"], given["request_id"], given["video_id"], kind, value, time_ms)
        if kind not in ranges:
            detail = f"expected one of {', '.join(ranges)}, found '{kind}'"
            meant = did_you_mean(kind, ranges) if len(rejected) < MAX_GUESSES else ""
            rejected.append(Rejection(place, Reason.UNKNOWN_KIND, event, detail + meant))
        elif (mistake := _mistake(kind, value, *ranges[kind])) is not None:
            rejected.append(Rejection(place, Reason.OUT_OF_RANGE, event, mistake))
        elif time_ms is not None and time_ms not in times:
            rejected.append(Rejection(place, Reason.IMPLAUSIBLE_TIME, event, times.mistake(time_ms)))
        else:
            accepted.append(event)
    return accepted, rejected


def _queue(pipeline: Pipeline, rejected: Sequence[Rejection]) -> None:
    """Queue the commands that count what was set aside, and keep some of it."""
    if rejected:
        queue_rejected(pipeline, [(each.reason, each.event) for each in rejected[:KEPT_PER_CALL]])
    for reason, count in Counter(each.reason for each in rejected[KEPT_PER_CALL:]).items():
        pipeline.hincrby(rejected_counts_key(), reason.value, count)


def _mistake(kind: str, value: float, low: float, high: float) -> str | None:
    """What is wrong with a value; None if nothing is."""
    if low <= value <= high and abs(value) <= MAX_VALUE and (kind != SHOWN or value.is_integer()):
        return None
    if kind == SHOWN:
        return f"expected a position, a whole number from 1, or 0 for that of the ranking, found {value:g}"
    expected = "a number" if math.isinf(low) and math.isinf(high) else f"a number from {low:g}"
    return f"expected {expected}{'' if math.isinf(high) else f' to {high:g}'}, found {value:g}"
