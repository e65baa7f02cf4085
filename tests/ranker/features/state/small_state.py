"""A spec with every kind of feature that learns from the stream, logs for it, and what the state says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from numpy.typing import NDArray

from ranker.features.hashing import hash_strings
from ranker.features.key_loops import Times
from ranker.features.kinds.history import HistoryFeature
from ranker.features.kinds.id import VIEWER
from ranker.features.layout import Layout
from ranker.features.record import RecordLayout, Words
from ranker.features.sides import Group, Side
from ranker.features.state.feature_state import FeatureState
from ranker.features.state.reading import History, Known
from ranker.labels.label import Label
from ranker.spec import RankerSpec
from ranker.spec_file import parse_spec

LabelT = TypeVar("LabelT", bound=Label)
STATE_YAML = """
name: state
features:
  - {name: user_id, side: user, kind: id, buckets: 16, dim: 2}
  - {name: tab, side: context, kind: category, capacity: 4, dim: 2}
  - {name: video_id, side: candidate, kind: id, buckets: 32, dim: 4}
  - {name: author_id, side: candidate, kind: id, buckets: 16, dim: 4}
  - {name: tags, side: candidate, kind: ids, buckets: 8, dim: 2, max_items: 3}
  - {name: uploaded_ms, side: candidate, kind: number}
  - {name: length, column: duration_s, side: candidate, kind: bin, edges: [10, 60], dim: 2}
  - {name: user_rates, kind: rate, of: [user_id], labels: [click, watch_time], half_lives: [2s, 1h]}
  - {name: video_rates, kind: rate, of: [video_id], labels: [like, click, stars], capacity: 3}
  - {name: tag_rates, kind: rate, of: [tags], labels: [click], half_lives: [1m], capacity: 2}
  - {name: user_tag_rates, kind: rate, of: [user_id, tags], labels: [like, watch_time], prior_strength: 5}
  - {name: user_tab_rates, kind: rate, of: [user_id, tab], labels: [watch_time, click], half_lives: [1h],
     prior_strength: {click: 2, watch_time: 0.5}, prior: user_rates}
  - {name: user_length_rates, kind: rate, of: [user_id, tab, length], labels: [like], half_lives: [10m]}
  - {name: user_age, kind: age, of: [user_id]}
  - {name: user_author_age, kind: age, of: [user_id, author_id], capacity: 3}
  - {name: tag_age, kind: age, of: [tags]}
  - {name: upload_age, kind: age, since: uploaded_ms}
  - {name: shown, kind: history, of: video_id, length: 3}
  - {name: watched, kind: history, of: video_id, label: watch_time, above: 5, length: 2, capacity: 2}
  - {name: liked, kind: history, of: author_id, label: like, length: 4}
  - {name: skipped_tags, kind: history, of: tags, label: skip, below: 1, length: 4}
tasks:
  - {name: click, group: engagement, kind: binary, label_wait: 1s}
  - {name: watch_time, group: engagement, kind: regression, transform: log1p, unit: s, label_wait: 60s}
  - {name: like, group: satisfaction, kind: binary}
  - {name: stars, group: satisfaction, kind: regression, label_wait: 1s}
labels:
  - {name: skip, kind: binary, label_wait: 501ms}
score: {terms: [{head: click}]}
"""
STATE_SPEC = parse_spec(STATE_YAML, where="small_state.py")
LABELS = [label.name for label in STATE_SPEC.feedback]
TIE = 0
T = 10**12
"""When `some_log` begins."""
STEPS_MS = (TIE, TIE, 1, 500, 501, 502, 999, 1_000, 1_001, 59_000, 60_000, 60_001, 3_600_000)


def one_wait(wait_s: float) -> RankerSpec:
    """The spec with the same `label_wait` for all labels."""
    return with_waits(dict.fromkeys(LABELS, wait_s))


def with_waits(waits_s: Mapping[str, float]) -> RankerSpec:
    """The spec with other waits."""

    def changed(label: LabelT) -> LabelT:
        return label.model_copy(update={"label_wait": waits_s.get(label.name, label.label_wait)})

    tasks, labels = tuple(map(changed, STATE_SPEC.tasks)), tuple(map(changed, STATE_SPEC.labels))
    return STATE_SPEC.model_copy(update={"tasks": tasks, "labels": labels})


@dataclass(frozen=True)
class Log:
    """Rows in the order of their times.

    Attributes:
        rows: The columns' values, row by row; None where missing.
        times: (R,) int64 milliseconds.
        labels: (R, F) float32 in natural units, NaN where missing.
    """

    rows: list[dict[str, Any]]
    times: Times
    labels: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> "Log":
        return Log(self.rows[part], self.times[part], self.labels[part])


def one(time_ms: int, labels: Mapping[str, float] | None = None, **values: Any) -> Log:
    """A log of one row; what is not given is missing."""
    row = {"user_id": None, "tab": None, "video_id": None, "author_id": None, "tags": None}
    row |= {"uploaded_ms": None, "duration_s": None, **values}
    found = [[(labels or {}).get(name, np.nan) for name in LABELS]]
    return Log([row], np.array([time_ms], np.int64), np.array(found, np.float32))


def together(*logs: Log) -> Log:
    """Logs one after the other."""
    return Log(
        [row for log in logs for row in log.rows],
        np.concatenate([log.times for log in logs]),
        np.concatenate([log.labels for log in logs]),
    )


class Machine:
    """A feature state, and how rows become what it takes.

    Args:
        spec: With features of the state.
    """

    def __init__(self, spec: RankerSpec = STATE_SPEC) -> None:
        self.spec = spec
        self.layout = Layout(spec)
        self.records = RecordLayout((*spec.side(*Side), VIEWER), seed=spec.hash_seed)
        self.state = FeatureState(spec, self.layout)

    def words(self, log: Log) -> Words:
        return self.records.of_rows(log.rows)

    def replay(self, log: Log, *, reversible: bool = False) -> dict[str, NDArray[Any]]:
        """What was known of each row, as `look_up` returns it; the state goes on."""
        known = self.state.replay(self.words(log), self.records, log.times, log.labels, reversible=reversible)
        return self._by_feature(known)

    def look_up(self, log: Log) -> dict[str, NDArray[Any]]:
        """Numbers (R, N) by feature, of histories their values and ages side by side."""
        words = self.words(log)
        groups = {g: self.state.look_up(g, words, self.records, log.times) for g in Group}
        return self._by_feature(groups)

    def observe(self, log: Log) -> None:
        self.state.observe(self.words(log), self.records, log.times)

    def learn(self, log: Log) -> None:
        self.state.learn(self.words(log), self.records, log.times, log.labels)

    def hashes(self, values: Sequence[str]) -> dict[str, float]:
        """What stands for values in a history."""
        hashed = hash_strings(pa.array(values), seed=self.spec.hash_seed)
        return dict(zip(values, hashed.astype(np.float64).tolist(), strict=True))

    def _by_feature(self, known: Mapping[Group, Known]) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {}
        for group, of_group in known.items():
            first = 0
            for feature in self.layout.state_features(group):
                if isinstance(feature, HistoryFeature):
                    found[feature.name] = _side_by_side(of_group.histories[feature.name])
                else:
                    width = len(self.layout.numbers_of(feature))
                    found[feature.name] = of_group.numbers[:, first : first + width]
                    first += width
            assert first == of_group.numbers.shape[1]
        return found


def same(left: Mapping[str, NDArray[Any]], right: Mapping[str, NDArray[Any]]) -> None:
    """Check that all arrays are the same, bit by bit."""
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def same_state(left: FeatureState, right: FeatureState) -> None:
    """Check that two states are saved as the same, byte by byte."""
    ours, theirs = left.state(), right.state()
    assert ours.keys() == theirs.keys()
    assert {n: a.tobytes() for n, a in ours.items()} == {n: a.tobytes() for n, a in theirs.items()}


def _side_by_side(history: History) -> NDArray[Any]:
    """(R, 2 E): hashes as float64, as exact as they need to be to tell apart, then ages."""
    return np.concatenate([history.values.astype(np.float64), history.ages_s], axis=1)


def _choice(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


ROW = st.fixed_dictionaries(
    {
        "user_id": _choice("u1", "u2", "u3"),
        "tab": _choice("a", "b", None),
        "video_id": _choice("v1", "v2", "v3", "v4", "v5"),
        "author_id": _choice("p", "q", None),
        "tags": st.none() | st.lists(_choice("x", "y", "z"), max_size=4),
        "uploaded_ms": _choice(None, 0, 10**15),
        "duration_s": _choice(None, 1.0, 10.0, 59.9, 300.0),
    }
)
FEEDBACK = st.tuples(
    _choice(0.0, 1.0, np.nan),
    _choice(0.0, 4.9, 5.0, 5.1, 60.0, np.nan),
    _choice(0.0, 1.0, np.nan),
    _choice(1.0, 5.0, np.nan),
    _choice(0.0, 1.0, np.nan),
)


@st.composite
def logs(draw: st.DrawFn, most: int = 30) -> Log:
    """Logs of a few users and videos, with ties in time and steps of exactly the waits."""
    drawn = draw(st.lists(st.tuples(st.sampled_from(STEPS_MS), ROW, FEEDBACK), min_size=1, max_size=most))
    steps, rows, labels = zip(*drawn, strict=True)
    times = 1_700_000_000_000 + np.cumsum(np.array(steps, np.int64))
    return Log(list(rows), times, np.array(labels, np.float32).reshape(-1, len(LABELS)))


def batch(log: Log) -> pa.RecordBatch:
    """The rows as a source yields them."""
    columns = {name: pa.array([row[name] for row in log.rows]) for name in log.rows[0]}
    labels = {name: log.labels[:, place] for place, name in enumerate(LABELS)}
    return pa.RecordBatch.from_pydict({"time_ms": log.times, **columns, **labels})


def some_log(rows: int = 60) -> pa.RecordBatch:
    """Two seconds apart, with a few viewers, videos and authors."""
    return batch(
        together(
            *(
                one(
                    T + 2000 * n,
                    {"click": float(n % 2), "like": float(n % 3 == 0), "watch_time": float(n), "skip": 0.0},
                    user_id=f"u{n % 4}",
                    tab="ab"[n % 2],
                    video_id=f"v{n % 7}",
                    author_id=f"p{n % 3}",
                    tags=["x", "y"][: n % 3],
                    duration_s=float(n),
                    uploaded_ms=T - n,
                )
                for n in range(rows)
            )
        )
    )
