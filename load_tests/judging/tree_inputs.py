"""What boosted trees are given: the columns that the network reads, and the numbers of the same state.

Records and state are the ranker's own, so both contenders see the same at the same moment. Trees need neither
standardising nor embeddings; of a list they get its first items, and of a history how many it holds and the
age of the latest.

Shape letter: R rows.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from load_tests.judging.log import Day, Log
from ranker.events import TIME_MS
from ranker.features.hashing import combine
from ranker.features.kinds.age import AgeFeature
from ranker.features.kinds.bin import BinFeature
from ranker.features.kinds.category import CategoryFeature
from ranker.features.kinds.cross import CrossFeature
from ranker.features.kinds.history import HistoryFeature
from ranker.features.kinds.id import IdFeature
from ranker.features.kinds.ids import IdsFeature
from ranker.features.kinds.number import NumberFeature
from ranker.features.kinds.rate import RateFeature
from ranker.features.layout import Layout
from ranker.features.record import MISSING_KEY, RecordLayout, Words
from ranker.features.sides import Group, Side
from ranker.features.state.feature_state import FeatureState
from ranker.features.state.reading import Known
from ranker.labels.matrix import label_matrix
from ranker.spec import RankerSpec

READ_ROWS: Final = 8192
LISTED: Final = 2
"""Items of a list that trees are given, the first ones."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Matrix:
    """Rows as trees take them.

    Attributes:
        numbers: By name, (R,), NaN where missing.
        keys: By name, (R,) hashes of categories and ids, MISSING_KEY where missing.
    """

    numbers: Mapping[str, Floats]
    keys: Mapping[str, Words]


class TreeInputs:
    """Reads a log as the encoder does, and gives columns in place of tensors.

    Args:
        spec: Names the features. Those of the position tower are left out: they are not known when ranking.

    Attributes:
        categories: Names of the keys that are categories.
        ids: Names of the keys that are ids, or combinations of them.
    """

    def __init__(self, spec: RankerSpec) -> None:
        self.spec = spec
        self.layout = Layout(spec)
        columns = (part for group in Group for part in self.layout.columns(group))
        self.records = RecordLayout((*spec.side(*Side), *columns), seed=spec.hash_seed)
        self.state = FeatureState(spec, self.layout)
        kept = [feature for group in Group for feature in self.layout.features(group)]
        self.categories = {f.name for f in kept if isinstance(f, CategoryFeature)}
        self.categories |= {
            f"{f.name}/{item}" for f in kept if isinstance(f, IdsFeature) for item in range(LISTED)
        }
        self.ids = {f.name for f in kept if isinstance(f, IdFeature | CrossFeature)}

    def read(self, log: Log, day: Day) -> tuple[Matrix, Matrix, Matrix]:
        """Go through the log up to the end of a day.

        Returns:
            What came before the day, each row as of its time; the day with the state as it was when it began;
            the day, each row as of its time.
        """
        learned = _joined(self._replayed(log.batches(READ_ROWS, None, day.since_ms)))
        judged = list(log.batches(READ_ROWS, day.since_ms, day.until_ms))
        frozen = _joined(map(self._looked_up, judged))
        return learned, frozen, _joined(self._replayed(judged))

    def _replayed(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Matrix]:
        for batch in batches:
            words, times = self.records.of_batch(batch), batch.column(TIME_MS).to_numpy()
            labels = label_matrix(batch, self.spec.feedback)
            yield self._columns(words, self.state.replay(words, self.records, times, labels))

    def _looked_up(self, batch: pa.RecordBatch) -> Matrix:
        words, times = self.records.of_batch(batch), batch.column(TIME_MS).to_numpy()
        known = {group: self.state.look_up(group, words, self.records, times) for group in Group}
        return self._columns(words, known)

    def _columns(self, words: Words, known: Mapping[Group, Known]) -> Matrix:
        numbers: dict[str, Floats] = {}
        keys: dict[str, Words] = {}
        for group in Group:
            of_state = iter(known[group].numbers.T.astype(np.float32))
            for feature in self.layout.features(group):
                name = feature.name
                if isinstance(feature, NumberFeature):
                    numbers[name] = words[:, self.records.place(feature)].view(np.float64).astype(np.float32)
                elif isinstance(feature, BinFeature):
                    numbers[name] = feature.ranges(words, self.records).astype(np.float32)
                elif isinstance(feature, IdsFeature):
                    items = feature.keys(words, self.records)
                    keys |= {f"{name}/{item}": items[:, item] for item in range(LISTED)}
                elif isinstance(feature, IdFeature | CategoryFeature):
                    keys[name] = words[:, self.records.place(feature)]
                elif isinstance(feature, CrossFeature):
                    parts = feature.columns(self.layout.by_name)
                    keys[name] = combine([part.keys(words, self.records)[:, 0] for part in parts])
                elif isinstance(feature, HistoryFeature):
                    ages_s = known[group].histories[name].ages_s.astype(np.float32)
                    numbers[f"{name}/count"] = np.count_nonzero(~np.isnan(ages_s), axis=1).astype(np.float32)
                    numbers[f"{name}/age"] = ages_s[:, 0]
                elif isinstance(feature, RateFeature | AgeFeature):
                    numbers |= {column: next(of_state) for column in state_columns(feature)}
                else:
                    raise ValueError(f"feature '{name}': trees have no column for kind {feature.kind}")
            assert next(of_state, None) is None
        return Matrix(numbers, keys)


def state_columns(feature: RateFeature | AgeFeature) -> list[str]:
    """Names of the numbers that the state gives for a feature, in its order."""
    if isinstance(feature, AgeFeature):
        return [feature.name]
    return [
        f"{feature.name}/{what}/{half_life:g}s"
        for half_life in feature.half_lives
        for what in (*feature.labels, "count")
    ]


def ranks(learned: Words, keys: Words) -> Floats:
    """Number the values of a column by how often they were learned from, the most frequent first.

    Args:
        learned: Hashes of the rows that are learned from.
        keys: (R,) hashes.

    Returns:
        (R,) 0 and up, NaN where missing or never learned.
    """
    values, counts = np.unique(learned[learned != MISSING_KEY], return_counts=True)
    rank = np.full(len(values) + 1, np.nan, np.float32)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(values))
    place = np.searchsorted(values, keys)
    known = np.append(values, MISSING_KEY)[place] == keys
    return np.where(known, rank[place], np.float32(np.nan))


def _joined(parts: Iterable[Matrix]) -> Matrix:
    every = list(parts)
    return Matrix(
        {name: np.concatenate([part.numbers[name] for part in every]) for name in every[0].numbers},
        {name: np.concatenate([part.keys[name] for part in every]) for name in every[0].keys},
    )
