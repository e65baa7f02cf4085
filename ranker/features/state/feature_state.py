"""All that is known of viewers, videos and pairs of both at a moment, in one state machine.

`observe` takes in what was shown, `learn` what came of it, `look_up` reads what is known, and `replay` does
all three with the rows of a log, each at its time: a row is read with what was known when its request was
made, never with its own label, nor with any that would not have arrived yet. What is read does not depend on
how the log is cut into batches.

Shape letters: R rows, W words of a record, F labels, N numbers of a group, E entries of a history.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.features.key_loops import Times
from ranker.features.kinds.columns import IdFeature, IdsFeature, NumberFeature
from ranker.features.kinds.learned import AgeFeature, HistoryFeature, RateFeature, StateFeature
from ranker.features.layout import Group, Layout
from ranker.features.record import RecordLayout, Words
from ranker.features.state.digest import state_digest
from ranker.features.state.histories import HistoryTracker
from ranker.features.state.known import Known, NumberColumns, Reading
from ranker.features.state.pending import Pending
from ranker.features.state.rates import RateTracker
from ranker.features.state.recency import RecencyTracker
from ranker.features.state.tracker import SHOWN, Arrays, Replay, Tracker
from ranker.labels.label import alike
from ranker.spec import RankerSpec

Labels = NDArray[np.float32]
_THREADS: Final = ThreadPoolExecutor(2, "feature-state")
"""Features are replayed side by side: none changes what another reads, and compiled code needs no lock."""


class FeatureState:
    """The state of all features of a spec that learn from the stream.

    Args:
        spec: Names them.
        layout: Says which group each belongs to.

    Attributes:
        digest: Names what it is made of: it may go on from another one's saved state if both have the same.
    """

    def __init__(self, spec: RankerSpec, layout: Layout) -> None:
        self.digest = state_digest(spec, layout)
        self._layout = layout
        self._feedback = spec.feedback
        self._trackers: dict[str, Tracker] = {}
        for feature in sorted(spec.state_features, key=_has_prior):
            if isinstance(feature, RateFeature):
                toward = self._trackers.get(feature.toward or "")
                assert toward is None or isinstance(toward, RateTracker)
                tracker: Tracker = RateTracker(feature, layout.key_parts(feature), spec.feedback, toward)
            elif isinstance(feature, HistoryFeature):
                of = layout.feature(feature.of)
                assert isinstance(of, IdFeature | IdsFeature)
                tracker = HistoryTracker(feature, of, spec.feedback)
            elif feature.of:
                tracker = RecencyTracker(feature, layout.key_parts(feature))
            else:
                continue
            self._trackers[feature.name] = tracker
        drawn = {feature.name for feature in spec.state_features if _has_prior(feature)}
        self._stages = [
            [tracker for name, tracker in self._trackers.items() if name not in drawn],
            [tracker for name, tracker in self._trackers.items() if name in drawn],
        ]
        self._columns = {group: NumberColumns(spec, layout, group) for group in Group}
        names = {group: {feature.name for feature in layout.state_features(group)} for group in Group}
        self._of_group = {
            group: [tracker for name, tracker in self._trackers.items() if name in names[group]]
            for group in Group
        }
        self._pending = Pending()
        waits = frozenset[float]().union(*(tracker.waits for tracker in self._trackers.values()))
        self._applied = dict.fromkeys(sorted(waits), 0)

    @property
    def learns(self) -> bool:
        """Whether there is anything to be learned: rates, histories, or ages of a key."""
        return bool(self._trackers)

    def __len__(self) -> int:
        """How many keys it knows."""
        return sum(len(tracker.table) for tracker in self._trackers.values())

    def advance(self, time_ms: int) -> None:
        """Take in what of the replayed rows has become known by a time, as the next row then would.

        Args:
            time_ms: The time; feedback whose wait ends then is not yet known.
        """
        if not len(self._pending):
            return
        shown, labels = self._pending["times"], self._pending["labels"]
        for wait, done in self._applied.items():
            until = max(done, int(np.searchsorted(shown, time_ms - round(wait * 1000), side="left")))
            rows = slice(done, until)
            arrived = labels[rows].copy()
            arrived[:, [label.label_wait != wait for label in self._feedback]] = np.nan
            for name, tracker in self._trackers.items():
                if wait in tracker.waits:
                    columns = self._pending.part(f"{name}/", rows)
                    if wait == SHOWN:
                        tracker.observe(columns, shown[rows])
                    tracker.learn(columns, shown[rows], arrived)
            self._applied[wait] = until
        self._forget()

    def replay(self, words: Words, records: RecordLayout, times: Times, labels: Labels) -> dict[Group, Known]:
        """Read rows of a log as of their times, and take them in as their feedback becomes known.

        Args:
            words: (R, W) the rows, with all columns.
            records: Where the columns stand in them.
            times: (R,) int64 milliseconds, none earlier than those before.
            labels: (R, F) in natural units, NaN where missing.

        Returns:
            What was known of each row.
        """
        if not len(words):
            return {group: self.look_up(group, words, records, times) for group in Group}
        columns: Arrays = {}
        for tracker in self._trackers.values():
            columns |= tracker.columns(words, records)
        self._pending.append({"times": times, "labels": self._learned(labels), **columns})
        shown = self._pending["times"]
        until = {
            wait: np.searchsorted(shown, times - round(wait * 1000), side="left").clip(done)
            for wait, done in self._applied.items()
        }
        log = Replay(
            {name: self._pending[name] for name in columns},
            shown,
            self._pending["labels"],
            len(shown) - len(words),
            self._applied,
            until,
        )
        reading = Reading({})
        for columns_of_group in self._columns.values():
            reading.places.update(columns_of_group.places(len(words)))
        for trackers in self._stages:
            list(_THREADS.map(lambda tracker: tracker.replay(log, reading), trackers))
        self._applied = {wait: int(count[-1]) for wait, count in until.items()}
        self._forget()
        return {group: self._known(group, reading, words, records, times) for group in Group}

    def look_up(self, group: Group, words: Words, records: RecordLayout, times: Times) -> Known:
        """Read what is known at these times of a group's rows; nothing is changed.

        Args:
            group: The group.
            words: (R, W).
            records: Where the group's columns stand in them.
            times: (R,) int64 milliseconds.
        """
        reading = Reading(self._columns[group].places(len(words)))
        for tracker in self._of_group[group]:
            tracker.look_up(words, records, times, reading)
        return self._known(group, reading, words, records, times)

    def observe(self, words: Words, records: RecordLayout, times: Times) -> None:
        """Take in what was shown.

        Args:
            words: (R, W) with all columns.
            records: Where the columns stand in them.
            times: (R,) int64 milliseconds, in order.
        """
        for tracker in self._trackers.values():
            tracker.observe(tracker.columns(words, records), times)

    def learn(self, words: Words, records: RecordLayout, times: Times, labels: Labels) -> None:
        """Take in the feedback on what was shown.

        Args:
            words: (R, W) with all columns.
            records: Where the columns stand in them.
            times: (R,) int64 milliseconds at which they were shown.
            labels: (R, F) in natural units, NaN where missing or not yet known.
        """
        for tracker in self._trackers.values():
            tracker.learn(tracker.columns(words, records), times, self._learned(labels))

    def state(self) -> Arrays:
        """Everything, as named arrays of int64 and float32, for a checkpoint or a bundle."""
        parts = {name: tracker.state() for name, tracker in self._trackers.items()}
        # No feature has a name that begins so.
        parts["_pending"] = self._pending.state()
        parts["_applied"] = {"counts": np.array(list(self._applied.values()), np.int64)}
        return {
            f"{part}/{name}": array.view(np.int64) if array.dtype == np.uint64 else array
            for part, arrays in parts.items()
            for name, array in arrays.items()
        }

    def load(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a saved state."""
        for name, tracker in self._trackers.items():
            tracker.load(_part(state, name))
        self._pending = Pending()
        self._pending.load(_unsigned(_part(state, "_pending")))
        counts = state["_applied/counts"].tolist()
        self._applied = dict(zip(self._applied, counts, strict=True))

    def _forget(self) -> None:
        """Let go of the rows of which all is taken in."""
        done = min(self._applied.values(), default=len(self._pending))
        self._pending.drop(done)
        self._applied = {wait: count - done for wait, count in self._applied.items()}

    def _learned(self, labels: Labels) -> Labels:
        """Labels as the network learns them."""
        learned = np.empty_like(labels)
        for label, columns in alike(self._feedback):
            learned[:, columns] = label.learned(labels[:, columns])
        return learned

    def _known(
        self, group: Group, reading: Reading, words: Words, records: RecordLayout, times: Times
    ) -> Known:
        features = self._layout.state_features(group)
        for feature in features:
            if isinstance(feature, AgeFeature) and feature.since is not None:
                place = reading.places[feature.name]
                place.numbers[:, place.first] = self._since(feature.since, words, records, times)
        histories = {f.name: reading.histories[f.name] for f in features if isinstance(f, HistoryFeature)}
        return Known(self._columns[group].logged(reading.places, len(words)), histories)

    def _since(self, column: str, words: Words, records: RecordLayout, times: Times) -> NDArray[np.float64]:
        """(R,) seconds, as many as float32 has."""
        of = self._layout.feature(column)
        assert isinstance(of, NumberFeature)
        seconds = (times - words[:, records.place(of)].view(np.float64)) / 1000
        return seconds.clip(0, np.finfo(np.float32).max)


def _has_prior(feature: StateFeature) -> bool:
    return isinstance(feature, RateFeature) and feature.toward is not None


def _part(state: Mapping[str, NDArray[np.generic]], part: str) -> Arrays:
    return {name.removeprefix(f"{part}/"): a for name, a in state.items() if name.startswith(f"{part}/")}


def _unsigned(columns: Arrays) -> Arrays:
    """Columns of rows as they were before they were saved: keys, values and viewers are hashes."""
    return {
        name: column.view(np.uint64) if name.split("/")[-1] in ("keys", "values", "viewers") else column
        for name, column in columns.items()
    }
