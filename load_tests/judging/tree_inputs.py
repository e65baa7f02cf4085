"""The inputs of boosted trees: the columns of the network, and the numbers of the same feature state.

Records and state are computed by the ranker's own code, so both contenders have the same information at the
same time. Trees need no standardising and no embeddings. Of a list they get the first items, and of a history
the number of entries and the age of the latest.

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
"""Number of a list's first items that the trees get."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Matrix:
    """Columns for trees.

    Attributes:
        numbers: Numbers by name, (R,) float32, NaN where missing.
        keys: Hashes of categories and ids by name, (R,) uint64, MISSING_KEY where missing.
    """

    numbers: Mapping[str, Floats]
    keys: Mapping[str, Words]


class TreeInputs:
    """Reads a log like the encoder, into columns and not tensors.

    Args:
        spec: The features. Those of the position tower are not used, because they are unknown when ranking.

    Attributes:
        categories: Names of the keys of categories.
        ids: Names of the keys of ids and of combinations of ids.
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
        """Read the log up to the end of a day.

        Returns:
            The rows before the day, each with the state at its time; the day's rows with the state at the
            beginning of the day; the day's rows, each with the state at its time.
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
                    numbers[name] = (
                        words[:, self.records.first_word(feature)].view(np.float64).astype(np.float32)
                    )
                elif isinstance(feature, BinFeature):
                    numbers[name] = feature.ranges(words, self.records).astype(np.float32)
                elif isinstance(feature, IdsFeature):
                    items = feature.keys(words, self.records)
                    keys |= {f"{name}/{item}": items[:, item] for item in range(LISTED)}
                elif isinstance(feature, IdFeature | CategoryFeature):
                    keys[name] = words[:, self.records.first_word(feature)]
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
    """Return the names of a feature's numbers, in the order of the state."""
    if isinstance(feature, AgeFeature):
        return [feature.name]
    return [
        f"{feature.name}/{what}/{half_life:g}s"
        for half_life in feature.half_lives
        for what in (*feature.labels, "count")
    ]


def ranks(learned: Words, keys: Words) -> Floats:
    """Rank the values of a column by their frequency in the training rows.

    Args:
        learned: Hashes of the training rows.
        keys: (R,) hashes.

    Returns:
        (R,) float32, 0 for the most frequent value; NaN where missing or not in the training rows.
    """
    values, counts = np.unique(learned[learned != MISSING_KEY], return_counts=True)
    rank = np.full(len(values) + 1, np.nan, np.float32)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(values))
    index = np.searchsorted(values, keys)
    known = np.append(values, MISSING_KEY)[index] == keys
    return np.where(known, rank[index], np.float32(np.nan))


def _joined(parts: Iterable[Matrix]) -> Matrix:
    every = list(parts)
    return Matrix(
        {name: np.concatenate([part.numbers[name] for part in every]) for name in every[0].numbers},
        {name: np.concatenate([part.keys[name] for part in every]) for name in every[0].keys},
    )
