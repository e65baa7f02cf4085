"""What entries of the log of events change in a feature state: how every process that ranks follows the log.

Impressions wait in the state as rows, feedback gives them their labels, and `FeatureState.advance` takes in
what is due, by the rule of the joiner: each label with what had arrived within its `label_wait`. Labels
without a wait are not followed, as nobody could say when an impression has none. Of impressions that count
only what is reported, a video becomes a row when the report arrives.

Shape letters: R rows, W words of a record, F labels, G given labels.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.errors import EventLogError
from ranker.features.encoder import Encoder
from ranker.features.key_loops import Times
from ranker.features.record import RecordLayout, Words
from ranker.features.state.feature_state import FeatureState, Labels
from ranker.stream.event_log import Entry, EntryId
from ranker.stream.impressions import Impression
from ranker.stream.joiner import Joiner
from ranker.stream.layouts import ImpressionLayouts
from ranker.stream.waiting import Listener

logger = logging.getLogger(__name__)

REPORT_S: Final = 60.0
"""A report that a video was seen counts for so long at least, whatever the waits of labels."""


@dataclass(frozen=True)
class StateChange:
    """What some entries change; to change it twice is to change it once.

    Attributes:
        first_row: The number that the state gives to the first of the rows.
        records: Layout of the rows.
        words: (R, W) rows that were shown, with all columns.
        times: (R,) int64 milliseconds when.
        labels: (R, F) their labels if no feedback comes.
        rows: (G,) numbers of rows that were given a label.
        columns: (G,) which label.
        values: (G,) float32 in natural units.
    """

    first_row: int
    records: RecordLayout
    words: Words
    times: Times
    labels: Labels
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: Labels

    def apply_to(self, state: FeatureState) -> None:
        """Let a state wait for these rows, unless it does, and give what was given."""
        if self.first_row >= state.next_row:
            state.append(self.words, self.records, self.times, self.labels)
        state.give(self.rows, self.columns, self.values)


class StateChanges(Listener):
    """Turns entries into changes of one state.

    Args:
        encoder: Of the model that ranks with the state.
        next_row: The number that the state gives to the next row that is appended.

    Attributes:
        foreign: Impressions whose records are laid out for another spec, which are left out.
    """

    def __init__(self, encoder: Encoder, next_row: int) -> None:
        labels = encoder.spec.feedback
        self._records = encoder.example_records
        self._layouts = ImpressionLayouts(encoder)
        self._absent = np.array(
            [label.absent_value if label.label_wait else np.nan for label in labels], np.float32
        )
        self._followed = [label.label_wait > 0 for label in labels]
        self._joiner = Joiner(labels, wait_s=REPORT_S, listener=self)
        self._next_row = next_row
        self._waiting: dict[EntryId, _Rows] = {}
        self._shown: list[tuple[int, Impression, NDArray[np.int64]]] = []
        self._given: list[tuple[int, int, float]] = []
        self.foreign = 0

    def of(self, entries: Sequence[Entry]) -> StateChange:
        """What the next entries change; damaged ones are left out and logged."""
        self._shown, self._given = [], []
        first_row = self._next_row
        for entry in entries:
            try:
                for joined in self._joiner.take(entry):
                    self._waiting.pop(joined.id, None)
            except EventLogError as error:
                logger.error("%s; it is left out", error)
        self._joiner.take_rejected()
        rows, columns, values = zip(*self._given, strict=True) if self._given else ((), (), ())
        counts = [len(of) for *_, of in self._shown]
        times = np.repeat(np.array([time_ms for time_ms, *_ in self._shown], np.int64), counts)
        return StateChange(
            first_row,
            self._records,
            self._words(counts),
            times,
            np.tile(self._absent, (len(times), 1)),
            np.array(rows, np.int64),
            np.array(columns, np.int64),
            np.array(values, np.float32),
        )

    def begun(self, number: EntryId, impression: Impression) -> None:
        """See `Listener`."""
        if impression.header.layouts != self._layouts.digests:
            self.foreign += 1
            return
        self._waiting[number] = _Rows(impression)
        if not impression.header.reported:
            self._append(number, number.ms, np.arange(len(impression.videos)))

    def seen(self, number: EntryId, row: int, at_ms: int) -> None:
        """See `Listener`."""
        if number in self._waiting:
            self._append(number, at_ms, np.array([row]))
            early = self._waiting[number].early.pop(row, {})
            for column, value in early.items():
                self.filled(number, row, column, value)

    def filled(self, number: EntryId, row: int, column: int, value: float) -> None:
        """See `Listener`."""
        if not self._followed[column] or number not in self._waiting:
            return
        waiting = self._waiting[number]
        if row in waiting.numbers:
            self._given.append((waiting.numbers[row], column, value))
        else:
            waiting.early.setdefault(row, {})[column] = value

    def _append(self, number: EntryId, time_ms: int, rows: NDArray[np.int64]) -> None:
        """Let some videos of an impression become the next rows."""
        waiting = self._waiting[number]
        waiting.numbers |= {row: self._next_row + index for index, row in enumerate(rows.tolist())}
        self._next_row += len(rows)
        self._shown.append((time_ms, waiting.impression, rows))

    def _words(self, counts: Sequence[int]) -> Words:
        """(R, W) the rows that were shown, with all columns."""
        if not self._shown:
            return self._records.missing(0)
        requests = np.concatenate([impression.request for _, impression, _ in self._shown])
        return self._layouts.rows(
            np.repeat(requests, counts, axis=0),
            np.concatenate([impression.videos[rows] for _, impression, rows in self._shown]),
            np.concatenate([impression.pairs[rows] for _, impression, rows in self._shown]),
        )


@dataclass
class _Rows:
    """An impression that waits.

    Attributes:
        impression: What was shown.
        numbers: Those that the state has given to its videos, by their places.
        early: Labels by their columns, of videos that were not reported to be seen yet.
    """

    impression: Impression
    numbers: dict[int, int] = field(default_factory=dict)
    early: dict[int, dict[int, float]] = field(default_factory=dict)
