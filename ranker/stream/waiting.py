"""An impression that waits for feedback, and how feedback becomes its labels.

Shape letters: N videos of the impression, F labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.labels.label import Label
from ranker.stream.event_log import EntryId
from ranker.stream.feedback import SHOWN, Event, Reason
from ranker.stream.impressions import Impression

MAX_VALUE: Final = float(np.finfo(np.float32).max)
"""Labels are kept in single precision; a sum of several values may be greater."""
MAX_EVENTS_PER_VIDEO: Final = 64
"""Events on an impression that are remembered, for each of its videos; further ones are set aside."""


class Listener:
    """Is told of what happens to impressions that wait; does nothing about it."""

    def begun(self, number: EntryId, impression: Impression) -> None:
        """An impression begins to wait."""

    def filled(self, number: EntryId, row: int, column: int, value: float) -> None:
        """Feedback gave a label.

        Args:
            number: The impression's entry.
            row: Which of its videos.
            column: Which label.
            value: What it is by now, in natural units.
        """


class LabelRule:
    """By what rule feedback becomes labels.

    Args:
        labels: The F labels, each of which is given by events of its name.
        wait_s: How long an impression waits at least; labels without a `label_wait` count for all of it.

    Attributes:
        labels: The labels.
        columns: Which label is given by events of a kind.
        ranges: The least and the greatest value of each.
        waits_ms: How long after the impression each counts.
        wait_ms: The longest of these: how long an impression waits.
    """

    def __init__(self, labels: Sequence[Label], wait_s: float) -> None:
        longest = max([wait_s, *(label.label_wait for label in labels)])
        self.labels = list(labels)
        self.columns = {label.name: column for column, label in enumerate(labels)}
        self.ranges = [label.value_range for label in labels]
        self.waits_ms = [round((label.label_wait or longest) * 1000) for label in labels]
        self.wait_ms = round(longest * 1000)
        self._absent = np.array([label.absent_value for label in labels], np.float32)

    def with_absent(self, labels: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, F) labels, with what holds without feedback where NaN says that none came."""
        return np.where(np.isnan(labels), self._absent, labels)


@dataclass
class Waiting:
    """An impression that waits; those of earlier times, then of earlier entries, come first.

    Attributes:
        id: Its entry.
        time_ms: When it was shown.
        impression: What was shown.
        index: Which row is a video's.
        labels: (N, F) what feedback gave, NaN where none did.
        positions: (N,) where each video was seen; 0 for one that was not.
        sighted: The latest entry with an impression of the same request.
        events: Hashes of the ids of the events that counted.
    """

    id: EntryId
    time_ms: int
    impression: Impression
    index: dict[str, int]
    labels: NDArray[np.float32]
    positions: NDArray[np.int64]
    sighted: EntryId
    events: set[int] = field(default_factory=set)

    @classmethod
    def begin(cls, number: EntryId, time_ms: int, impression: Impression, labels: int) -> "Waiting":
        """An impression of which no feedback has come.

        Args:
            number: Its entry.
            time_ms: When it was shown.
            impression: What was shown.
            labels: F.
        """
        videos = impression.header.video_ids
        served = np.arange(1, len(videos) + 1)
        return cls(
            number,
            time_ms,
            impression,
            {video: row for row, video in enumerate(videos)},
            np.full((len(videos), labels), np.nan, np.float32),
            np.zeros_like(served) if impression.header.reported else served,
            number,
        )

    def __lt__(self, other: "Waiting") -> bool:
        return (self.time_ms, self.id) < (other.time_ms, other.id)

    def fill(self, event: Event, at_ms: int, rule: LabelRule, listener: Listener) -> Reason | None:
        """Take an event on this impression in.

        Args:
            event: The event.
            at_ms: When it arrived.
            rule: How it becomes a label.
            listener: Told of the label that it gives.

        Returns:
            None, or why it is set aside.
        """
        row = self.index.get(event.video_id)
        if row is None:
            return Reason.UNKNOWN_VIDEO
        column = rule.columns.get(event.kind)
        if column is None and event.kind != SHOWN:
            return Reason.UNKNOWN_KIND
        if len(self.events) >= MAX_EVENTS_PER_VIDEO * len(self.index):
            return Reason.TOO_MANY
        name = hash(event.event_id)
        if name in self.events:
            return Reason.REPEATED
        if at_ms - self.time_ms > (rule.wait_ms if column is None else rule.waits_ms[column]):
            return Reason.TOO_LATE
        if column is None:
            self.events.add(name)
            self.positions[row] = int(event.value) if event.value >= 1 else row + 1
            return None
        low, high = rule.ranges[column]
        if not (math.isfinite(event.value) and low <= event.value <= high):
            return Reason.OUT_OF_RANGE
        value = self._combined(rule.labels[column], row, column, float(event.value))
        if not (low <= value <= high and abs(value) <= MAX_VALUE):
            return Reason.OUT_OF_RANGE
        self.events.add(name)
        self.labels[row, column] = value
        listener.filled(self.id, row, column, value)
        return None

    def _combined(self, label: Label, row: int, column: int, value: float) -> float:
        """A label after one more value."""
        before = self.labels.item(row, column)
        if label.several == "last" or math.isnan(before):
            return value
        return before + value if label.several == "sum" else max(before, value)
