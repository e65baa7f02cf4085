"""What each feature of the state should be, in plain Python over the rows that are known, without arrays."""

import math
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from ranker.features.kinds.age import AgeFeature
from ranker.features.kinds.bin import BinFeature
from ranker.features.kinds.history import HistoryFeature
from ranker.features.kinds.ids import IdsFeature
from ranker.features.kinds.rate import RateFeature
from ranker.features.layout import Layout
from ranker.labels.label import Label
from ranker.labels.regression import RegressionLabel
from ranker.spec import RankerSpec
from tests.ranker.features.state.small_state import Log

Row = dict[str, Any]
Past = OrderedDict[Hashable, list[Any]]


class Forgetful:
    """Lists by key; the key that was used longest ago is forgotten when there are too many."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.past: Past = OrderedDict()

    def extend(self, key: Hashable, entries: Sequence[Any]) -> None:
        self.past.setdefault(key, []).extend(entries)
        self.past.move_to_end(key)
        if len(self.past) > self.capacity:
            self.past.popitem(last=False)

    def __getitem__(self, key: Hashable) -> list[Any]:
        return self.past.get(key, [])


def keys_of(row: Row, of: Sequence[str], layout: Layout) -> list[tuple[Any, ...]]:
    """The keys of a row: one, those of a list, none if a part is missing."""
    keys: list[tuple[Any, ...]] = [()]
    for name in of:
        feature = layout.by_name[name]
        if isinstance(feature, IdsFeature):
            values = (row[feature.source_column] or [])[: feature.max_items]
        elif isinstance(feature, BinFeature):
            number = row[feature.source_column]
            values = [] if number is None else [bisect_right(feature.edges, number)]
        else:
            values = [v for v in [row[feature.source_column]] if v is not None]  # type: ignore[union-attr]
        keys = [(*key, value) for key in keys for value in values]
    return keys


def arriving(log: Log, wait_s: float) -> Callable[[int], Iterator[int]]:
    """The rows that become known by a time and were not before: those shown more than the wait earlier."""
    position = 0

    def until(now_ms: int) -> Iterator[int]:
        nonlocal position
        while position < len(log) and log.times[position] + 1000 * wait_s < now_ms:
            yield position
            position += 1

    return until


def rates(feature: RateFeature, spec: RankerSpec, log: Log) -> list[list[float]]:
    """The numbers of a rate for every row."""
    layout, names = Layout(spec), [label.name for label in spec.feedback]
    places = [names.index(label) for label in feature.labels]
    counted = [spec.feedback[place] for place in places]
    prior_rate = None if feature.prior is None else layout.by_name[feature.prior]
    assert prior_rate is None or isinstance(prior_rate, RateFeature)
    of_prior = [] if prior_rate is None else rates(prior_rate, spec, log)
    known, everything = Forgetful(feature.capacity), []
    waits = {wait: arriving(log, wait) for wait in sorted({label.label_wait for label in counted})}
    found = []
    for now, row in enumerate(log.rows):
        now_ms = int(log.times[now])
        for wait, until in waits.items():
            for past in until(now_ms):
                labels = [
                    _learned(log.labels[past, place], label) if label.label_wait == wait else math.nan
                    for place, label in zip(places, counted, strict=True)
                ]
                entry = (int(log.times[past]), labels)
                everything.append(entry)
                for key in keys_of(log.rows[past], feature.of, layout):
                    known.extend(key, [entry])
        own = [entry for key in keys_of(row, feature.of, layout) for entry in known[key]]
        latest_ms = max((at_ms for at_ms, _ in everything), default=now_ms)
        numbers = []
        for half_life in feature.half_lives:
            for place, label in enumerate(counted):
                binary = label.is_probability
                of_all, all_rows = _decayed(everything, place, latest_ms, half_life)
                prior = (of_all + 0.5 * binary) / (all_rows + 1)
                if prior_rate is not None:
                    h, place_there = (
                        prior_rate.half_lives.index(half_life),
                        prior_rate.labels.index(label.name),
                    )
                    number = of_prior[now][h * (len(prior_rate.labels) + 1) + place_there]
                    prior = 1 / (1 + math.exp(-number)) if binary else number
                total, rows = _decayed(own, place, now_ms, half_life)
                given = feature.prior_strength
                strength = given[label.name] if isinstance(given, dict) else given
                rate = (total + strength * prior) / (rows + strength)
                numbers.append(math.log(rate / (1 - rate)) if binary else rate)
            numbers.append(math.log1p(_decayed(own, 0, now_ms, half_life)[1]))
        found.append(numbers)
    return found


def ages(feature: AgeFeature, spec: RankerSpec, log: Log) -> list[list[float]]:
    """The age for every row."""
    layout, seen, until = Layout(spec), Forgetful(feature.capacity), arriving(log, 0)
    found = []
    for now, row in enumerate(log.rows):
        now_ms = int(log.times[now])
        for past in until(now_ms):
            for key in keys_of(log.rows[past], feature.of, layout):
                seen.extend(key, [int(log.times[past])])
        if feature.since is not None:
            then = row[layout.by_name[feature.since].source_column]  # type: ignore[union-attr]
            times = [] if then is None else [then]
        else:
            times = [at_ms for key in keys_of(row, feature.of, layout) for at_ms in seen[key]]
        found.append([max(now_ms - max(times), 0) / 1000 if times else math.nan])
    return found


def histories(feature: HistoryFeature, spec: RankerSpec, log: Log) -> list[list[tuple[str, float]]]:
    """Values and ages of the entries for every row, the newest first."""
    names = [label.name for label in spec.feedback]
    place = None if feature.label is None else names.index(feature.label)
    layout, seen = Layout(spec), Forgetful(feature.capacity)
    until = arriving(log, 0 if place is None else spec.feedback[place].label_wait)
    found = []
    for now, row in enumerate(log.rows):
        now_ms = int(log.times[now])
        for past in until(now_ms):
            if place is None or _admits(feature, float(log.labels[past, place])):
                entries = keys_of(log.rows[past], [feature.of], layout)
                seen.extend(log.rows[past]["user_id"], [(*entry, int(log.times[past])) for entry in entries])
        entries = seen[row["user_id"]][: -feature.length - 1 : -1]
        found.append([(value, (now_ms - at_ms) / 1000) for value, at_ms in entries])
    return found


def _admits(feature: HistoryFeature, label: float) -> bool:
    return label > feature.above if feature.below is None else label < feature.below


def _learned(given: float, label: Label) -> float:
    logs = isinstance(label, RegressionLabel) and label.transform == "log1p"
    return math.log1p(given) if logs else float(given)


def _decayed(
    entries: Sequence[tuple[int, list[float]]], place: int, now_ms: int, half_life_s: float
) -> tuple[float, float]:
    """The sums of a label and of the rows with it."""
    total = rows = 0.0
    for at_ms, labels in entries:
        if not math.isnan(labels[place]):
            weight = 0.5 ** ((now_ms - at_ms) / 1000 / half_life_s)
            total += weight * labels[place]
            rows += weight
    return total, rows
