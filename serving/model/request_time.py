"""The time of a request, and how old the feature state is by then."""

import logging
import time
from typing import NamedTuple

from ranker.errors import InvalidRequestError, Mistake
from ranker.event_times import TimeRange
from ranker.events import TIME_MS
from serving.http.json_pointer import json_pointer
from serving.model.served_model import ServedModel

logger = logging.getLogger(__name__)


def request_time(given_ms: int | None, model: ServedModel) -> int:
    """When a request was made, Unix epoch in milliseconds: what it says, or now.

    Besides the times from 2000 to a day from now, those are plausible that the model has learned from.

    Args:
        given_ms: The request's `time_ms`.
        model: Ranks it.

    Raises:
        InvalidRequestError: The time is not plausible; the message names the unit that was probably meant.
    """
    now_ms = time.time_ns() // 1_000_000
    if given_ms is None:
        return now_ms
    times = TimeRange.plausible(now_ms)
    for known_ms in (model.manifest.watermark_ms, model.state.watermark_ms):
        if known_ms is not None:
            times = times.including(known_ms)
    if given_ms not in times:
        raise InvalidRequestError([Mistake(json_pointer((TIME_MS,)), times.mistake(given_ms))])
    return given_ms


class StateAge(NamedTuple):
    """How old a feature state is when a request is made.

    Attributes:
        seconds: From the newest event that it has seen; None if the model has no features of the state, or
            the state has seen none.
        stale: Whether that is longer than the longest half-life, so that rates have decayed to nothing.
    """

    seconds: float | None
    stale: bool


class StateAges:
    """Tells how old feature states are, and warns once of each model whose state is stale."""

    def __init__(self) -> None:
        self._warned_of: str | None = None

    def at(self, time_ms: int, model: ServedModel) -> StateAge:
        """The age of a model's state.

        Args:
            time_ms: When the request was made.
            model: Ranks it.
        """
        watermark_ms = model.state.watermark_ms
        if not model.spec.state_features or watermark_ms is None:
            return StateAge(None, stale=False)
        age_s = (time_ms - watermark_ms) / 1000
        half_lives_s = [f.longest_half_life_s for f in model.spec.state_features if f.longest_half_life_s]
        stale = bool(half_lives_s) and age_s > max(half_lives_s)
        version = model.manifest.model_version
        if stale and self._warned_of != version:
            self._warned_of = version
            logger.warning(
                "%s: its feature state is %.1f days old at the time of a request, more than the longest "
                "half-life of %.1f days, so its rates have decayed to what holds of everyone: bring it up to "
                "date with `watchnext features state`, or say in `time_ms` when the request was made",
                version,
                age_s / 86_400,
                max(half_lives_s) / 86_400,
            )
        return StateAge(age_s, stale)
