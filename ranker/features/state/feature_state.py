"""All that is known of viewers, videos and pairs of both at a moment, in one state machine.

`observe` takes in what was shown, `learn` what came of it, `look_up` reads what is known, and `replay` does
all three with the rows of a log, each at its time: a row is read with what was known when its request was
made, never with its own label, nor with any that would not have arrived yet. What is read does not depend on
how the log is cut into batches.

Shape letters: R rows, W words of a record, F labels, N numbers of a group, E entries of a history.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.features.forgetting import keys_of
from ranker.features.key_loops import Times
from ranker.features.key_table import Arrays
from ranker.features.layout import Layout
from ranker.features.record import MISSING_KEY, RecordLayout, Words
from ranker.features.sides import Group
from ranker.features.state.digest import state_digest
from ranker.features.state.group_features import GroupFeatures
from ranker.features.state.pending import Pending
from ranker.features.state.reading import Known, Reading
from ranker.features.state.tracker import SHOWN, Replay, Tracker
from ranker.labels.label import alike
from ranker.spec import RankerSpec

Labels = NDArray[np.float32]


@cache
def _threads() -> ThreadPoolExecutor:
    """Features are replayed side by side: none changes what another reads; compiled code needs no lock."""
    return ThreadPoolExecutor(2, "feature-state")


PENDING: Final = "_pending"
"""The part of the state that holds rows whose feedback is not known yet."""
PENDING_LABELS: Final = f"{PENDING}/labels"
"""The name of their labels in the state, NaN where missing."""


class FeatureState:
    """The state of all features of a spec that learn from the stream.

    Args:
        spec: Names them.
        layout: Says which group each belongs to.

    Attributes:
        digest: Names what it is made of: it may go on from another one's saved state if both have the same.
    """

    def __init__(self, spec: RankerSpec, layout: Layout) -> None:
        self._feedback = spec.feedback
        self._trackers: dict[str, Tracker] = {}
        stages: dict[bool, list[Tracker]] = {False: [], True: []}  # a feature is read after its prior
        for feature in sorted(spec.state_features, key=lambda feature: feature.prior_feature is not None):
            tracker = feature.tracker(layout.by_name, spec.feedback, self._trackers)
            if tracker is not None:
                self._trackers[feature.name] = tracker
                stages[feature.prior_feature is not None].append(tracker)
        self._stages = list(stages.values())
        self.digest = state_digest(spec, [f for f in spec.state_features if f.name in self._trackers])
        self._groups = {group: GroupFeatures(spec, layout, group, self._trackers) for group in Group}
        self._pending = Pending()
        waits = frozenset[float]().union(*(tracker.waits for tracker in self._trackers.values()))
        self._applied = dict.fromkeys(sorted(waits), 0)
        self._before: tuple[int, int, dict[float, int]] | None = None

    @property
    def learns(self) -> bool:
        """Whether there is anything to be learned: rates, histories, or ages of a key."""
        return bool(self._trackers)

    @property
    def next_row(self) -> int:
        """The number of the next row that is appended."""
        return self._pending.next

    def __len__(self) -> int:
        """How many keys it knows."""
        return sum(len(tracker.table) for tracker in self._trackers.values())

    def advance(self, time_ms: int) -> None:
        """Take in what of the replayed rows has become known by a time, as the next row then would.

        Args:
            time_ms: The time; feedback whose wait ends then is not yet known.
        """
        self._settle()
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

    def append(self, words: Words, records: RecordLayout, times: Times, labels: Labels) -> int:
        """Let rows wait that are shown now and whose feedback is still to come; `advance` takes them in.

        Args:
            words: (R, W) the rows, with all columns.
            records: Where the columns stand in them.
            times: (R,) int64 milliseconds, none earlier than those before.
            labels: (R, F) in natural units, as they are if no feedback comes; NaN where missing then.

        Returns:
            The number of the first of them, by which `give` finds it; the others follow.
        """
        self._settle()
        first = self.next_row
        if len(words):
            self._let_wait(words, records, times, labels)
        return first

    def give(self, rows: NDArray[np.int64], columns: NDArray[np.int64], values: Labels) -> None:
        """Give feedback to rows that wait, in place of what they have; to those that do not, nothing.

        Args:
            rows: (G,) their numbers, of `append`.
            columns: (G,) which of the F labels; one of which the wait is over is not read any more.
            values: (G,) the labels in natural units.
        """
        self._settle()
        there = self._pending.holds(rows)
        if not there.any():
            return
        rows, columns = rows[there] - self._pending.first, columns[there]
        given = np.full((len(rows), len(self._feedback)), np.nan, np.float32)
        cells = np.arange(len(rows)), columns
        given[cells] = values[there]
        self._pending["labels"][rows, columns] = self._learned(given)[cells]

    def replay(
        self,
        words: Words,
        records: RecordLayout,
        times: Times,
        labels: Labels,
        *,
        reversible: bool = False,
    ) -> dict[Group, Known]:
        """Read rows of a log as of their times, and take them in as their feedback becomes known.

        Args:
            words: (R, W) the rows, with all columns.
            records: Where the columns stand in them.
            times: (R,) int64 milliseconds, none earlier than those before.
            labels: (R, F) in natural units, NaN where missing.
            reversible: Whether `take_back` can undo it, until the state changes again.

        Returns:
            What was known of each row.
        """
        if not len(words):
            self._before = 0, 0, dict(self._applied)
            return {group: self.look_up(group, words, records, times) for group in Group}
        columns = self._let_wait(words, records, times, labels)
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
            reversible,
        )
        reading = Reading({})
        for features in self._groups.values():
            reading.numbers.update(features.blocks(len(words)))
        for trackers in self._stages:
            list(_threads().map(lambda tracker: tracker.replay(log, reading), trackers))
        applied = self._applied
        self._applied = {wait: int(count[-1]) for wait, count in until.items()}
        self._before = len(words), self._forget(), applied
        return {
            group: features.known(reading, words, records, times) for group, features in self._groups.items()
        }

    def take_back(self) -> None:
        """Let everything be as it was before the latest reversible `replay`, if nothing changed it since."""
        assert self._before is not None
        appended, dropped, self._applied = self._before
        self._before = None
        if appended:
            self._pending.take_back(appended, dropped)
            for tracker in self._trackers.values():
                tracker.take_back()

    def look_up(self, group: Group, words: Words, records: RecordLayout, times: Times) -> Known:
        """Read what is known at these times of a group's rows; nothing is changed.

        Args:
            group: The group.
            words: (R, W).
            records: Where the group's columns stand in them.
            times: (R,) int64 milliseconds.
        """
        features = self._groups[group]
        reading = Reading(features.blocks(len(words)))
        for tracker in features.trackers:
            tracker.look_up(words, records, times, reading)
        return features.known(reading, words, records, times)

    def observe(self, words: Words, records: RecordLayout, times: Times) -> None:
        """Take in what was shown.

        Args:
            words: (R, W) with all columns.
            records: Where the columns stand in them.
            times: (R,) int64 milliseconds, in order.
        """
        self._settle()
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
        self._settle()
        for tracker in self._trackers.values():
            tracker.learn(tracker.columns(words, records), times, self._learned(labels))

    def forget(self, words: Words, without: Words, records: RecordLayout) -> None:
        """Know nothing any more of the keys that some values are a part of, nor of rows that wait.

        Args:
            words: (R, W) rows with the values, among others.
            without: (R, W) the same rows without them.
            records: Where the columns stand in both.
        """
        self._settle()
        for tracker in self._trackers.values():
            found, rest = tracker.columns(words, records), tracker.columns(without, records)
            gone = {name: keys_of(keys, rest[name]) for name, keys in found.items()}
            tracker.forget(gone)
            for name, keys in gone.items() if len(self._pending) else ():
                waiting = self._pending[name]
                waiting[np.isin(waiting, keys)] = MISSING_KEY

    def state(self) -> Arrays:
        """Everything, as named arrays of int64 and float32, for a checkpoint or a bundle."""
        parts = {name: tracker.state() for name, tracker in self._trackers.items()}
        # No feature has a name that begins so.
        parts[PENDING] = self._pending.state()
        parts["_applied"] = {
            "counts": np.array(list(self._applied.values()), np.int64),
            "dropped": np.array([self._pending.first], np.int64),
        }
        return {
            f"{part}/{name}": array.view(np.int64) if array.dtype == np.uint64 else array
            for part, arrays in parts.items()
            for name, array in arrays.items()
        }

    def load(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a saved state."""
        types: dict[str, type[np.generic]] = {}
        for name, tracker in self._trackers.items():
            tracker.load(_part(state, name))
            types |= tracker.column_types
        rows = _part(state, PENDING)
        self._pending = Pending(int(state.get("_applied/dropped", np.zeros(1))[0]))
        self._pending.load(
            {name: column.view(types.get(name, column.dtype)) for name, column in rows.items()}
        )
        counts = state["_applied/counts"].tolist()
        self._applied = dict(zip(self._applied, counts, strict=True))
        self._before = None

    def _let_wait(self, words: Words, records: RecordLayout, times: Times, labels: Labels) -> Arrays:
        """Add rows to those that wait, and return what the trackers made of them."""
        columns: Arrays = {}
        for tracker in self._trackers.values():
            columns |= tracker.columns(words, records)
        self._pending.append({"times": times, "labels": self._learned(labels), **columns})
        return columns

    def _settle(self) -> None:
        """Note no further changes: the latest replay can no longer be taken back."""
        if self._before is not None:
            self._before = None
            for tracker in self._trackers.values():
                tracker.table.settle()

    def _forget(self) -> int:
        """Let go of the rows of which all is taken in, and say how many."""
        done = min(self._applied.values(), default=len(self._pending))
        self._pending.drop(done)
        self._applied = {wait: count - done for wait, count in self._applied.items()}
        return done

    def _learned(self, labels: Labels) -> Labels:
        """Labels as the network learns them."""
        learned = np.empty_like(labels)
        for label, columns in alike(self._feedback):
            learned[:, columns] = label.learned(labels[:, columns])
        return learned


def _part(state: Mapping[str, NDArray[np.generic]], part: str) -> Arrays:
    return {name.removeprefix(f"{part}/"): a for name, a in state.items() if name.startswith(f"{part}/")}
