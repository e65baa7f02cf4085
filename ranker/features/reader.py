"""From records to one group's tensors: the second half of encoding, which knows what was learned.

Shape letters: R rows, W words of a record, S single-valued features, N numbers, E entries of a history.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from ranker.features.batch import AttendedHistory, Bag, GroupInputs
from ranker.features.hashing import combine
from ranker.features.id_rows import IdRows
from ranker.features.kinds.columns import BinFeature, CategoryFeature, CrossFeature, IdFeature, IdsFeature
from ranker.features.kinds.learned import AgeFeature, HistoryFeature
from ranker.features.layout import AGE_RANGES, Group, Layout
from ranker.features.record import MISSING_KEY, MISSING_LIST, RecordLayout, Words
from ranker.features.standardise import Standardiser
from ranker.features.state.known import History, Known
from ranker.features.state.row_keys import bins, part_keys
from ranker.features.vocabularies import TextOf, Vocabularies

LARGEST: Final = 1e100
"""Numbers are cut here: their squares must add up to something finite."""


class GroupReader:
    """Reads a group's features out of records.

    Args:
        group: The group.
        layout: Where the features stand in tables and input.
        records: Where their columns stand in the records; parts of crosses included.
        vocabularies: Of the categories, shared by all readers of an encoder.
        ids: Rows of ids and crosses, shared likewise.
        standardiser: Of the group's numbers.
    """

    def __init__(
        self,
        group: Group,
        layout: Layout,
        records: RecordLayout,
        vocabularies: Vocabularies,
        ids: IdRows,
        standardiser: Standardiser,
    ) -> None:
        self._layout = layout
        self._records = records
        self._vocabularies = vocabularies
        self._ids = ids
        self._standardiser = standardiser
        by_width = {width: layout.singles(group, width) for width in layout.table_rows}
        self._widths = {width: len(features) for width, features in by_width.items() if features}
        singles = [feature for features in by_width.values() for feature in features]
        self._first_rows = np.array([layout.first_row(f) for f in singles], np.int64)
        places = list(enumerate(singles))
        self._categories = [(place, f) for place, f in places if isinstance(f, CategoryFeature)]
        self._bins = [(place, f) for place, f in places if isinstance(f, BinFeature)]
        self._hashed = [(place, f) for place, f in places if isinstance(f, IdFeature | CrossFeature)]
        numbers, state = layout.numbers(group), layout.state_features(group)
        counts = [layout.state_numbers(f) for f in state]
        of_state = np.repeat(np.array([isinstance(f, AgeFeature) for f in state], bool), counts)
        self._number_words = [records.place(f) for f in numbers]
        self._logs = np.append(np.array([f.transform == "log1p" for f in numbers], bool), of_state)
        self._may_be_missing = np.append(np.ones(len(numbers), bool), of_state)
        self._means = [f for f in state if isinstance(f, HistoryFeature) and f.pool == "mean"]
        self._attended = layout.attended(group)
        self._bags = layout.bags(group)

    def read(self, words: Words, known: Known, *, observe: TextOf | None = None) -> GroupInputs:
        """Read records.

        Args:
            words: (R, W) in this reader's layout.
            known: What the state knows of the same rows.
            observe: Take the rows into vocabularies and statistics, after reading them; gives a category's
                values as strings.

        Returns:
            R rows of the group's features.
        """
        rows = self._rows(words, observe)
        starts = np.cumsum([0, *self._widths.values()])
        singles = {
            width: torch.from_numpy(rows[:, start : start + count])
            for (width, count), start in zip(self._widths.items(), starts, strict=False)
        }
        bags = [self._bag(words, feature) for feature in self._bags]
        bags += [self._history(feature, known.histories[feature.name]) for feature in self._means]
        attended = [self._attend(words, f, known.histories[f.name]) for f in self._attended]
        numbers = self._standardised(words, known, observe is not None)
        return GroupInputs(len(words), singles, tuple(bags), numbers, tuple(attended))

    def _rows(self, words: Words, observe: TextOf | None) -> NDArray[np.int64]:
        rows = np.empty((len(words), len(self._first_rows)), np.int64)
        if self._categories:
            names = [feature.name for _, feature in self._categories]
            keys = words[:, [self._records.place(feature) for _, feature in self._categories]]
            categories = self._vocabularies.categories(names, keys)
            rows[:, [place for place, _ in self._categories]] = categories
            if observe is not None:
                self._vocabularies.observe(names, categories, observe)
        for place, binned in self._bins:
            rows[:, place] = bins(binned, words, self._records)
        for place, hashed in self._hashed:
            rows[:, place] = self._ids.rows(hashed, self._key(words, hashed))
        return rows + self._first_rows

    def _key(self, words: Words, feature: IdFeature | CrossFeature) -> Words:
        if isinstance(feature, IdFeature):
            return words[:, self._records.place(feature)]
        parts = [part_keys(part, words, self._records)[:, 0] for part in self._layout.parts(feature)]
        missing = np.logical_and.reduce([part == MISSING_KEY for part in parts])
        return np.where(missing, MISSING_KEY, combine(parts))

    def _bag(self, words: Words, feature: IdsFeature) -> Bag:
        """Rows of each list; a missing list has the row of missing, an empty list none."""
        first = self._records.place(feature)
        lengths = words[:, first]
        missing = lengths == MISSING_LIST
        kept = np.where(missing, np.uint64(1), np.minimum(lengths, np.uint64(feature.max_items))).astype(
            np.int64
        )
        keys = words[:, first + 1 : first + 1 + feature.max_items]
        inside = np.arange(feature.max_items) < kept[:, None]
        keys = np.where(missing[:, None], MISSING_KEY, keys)[inside]
        rows = self._ids.rows(feature, keys) + self._layout.first_row(feature)
        return Bag(
            torch.from_numpy(rows), torch.from_numpy(np.cumsum(kept) - kept), self._layout.width(feature)
        )

    def _history(self, feature: HistoryFeature, history: History) -> Bag:
        """Rows of the entries and of their ages: the mean of both together."""
        of = self._layout.feature(feature.of)
        assert isinstance(of, IdFeature | IdsFeature)
        values = self._ids.rows(of, history.values) + self._layout.first_row(of)
        ages = age_ranges(history.ages_s) + self._layout.first_row(feature)
        there = history.values != MISSING_KEY
        rows = np.stack([values, ages], axis=2)[there].reshape(-1)
        counts = 2 * there.sum(axis=1)
        offsets = np.cumsum(counts) - counts
        return Bag(torch.from_numpy(rows), torch.from_numpy(offsets), self._layout.width(feature))

    def _attend(self, words: Words, feature: HistoryFeature, history: History) -> AttendedHistory:
        """Rows of the entries, of their ages and of the candidates, a request's history only once."""
        of = self._layout.feature(feature.of)
        assert isinstance(of, IdFeature)
        bits = np.concatenate([history.values, history.ages_s.view(np.uint64)], axis=1)  # NaN equals NaN
        same = (bits[1:] == bits[:-1]).all(axis=1)
        first = np.append(True, ~same)[: len(words)]
        values, ages_s = history.values[first], history.ages_s[first]
        entries, candidates = (
            torch.from_numpy(self._ids.rows(of, keys) + self._layout.first_row(of))
            for keys in (values, words[:, self._records.place(of)])
        )
        return AttendedHistory(
            entries,
            torch.from_numpy(age_ranges(ages_s) + self._layout.first_row(feature)),
            torch.from_numpy(values != MISSING_KEY),
            torch.from_numpy(np.cumsum(first) - 1),
            candidates,
            self._layout.width(feature),
        )

    def _standardised(self, words: Words, known: Known, observe: bool) -> torch.Tensor:
        own = words[:, self._number_words].view(np.float64)
        values = np.concatenate([own, known.numbers], axis=1).clip(-LARGEST, LARGEST)
        logs = values[:, self._logs]
        values[:, self._logs] = np.sign(logs) * np.log1p(np.abs(logs))
        scaled = self._standardiser.standardise(values)
        if observe:
            self._standardiser.observe(values)
        missing = np.isnan(values[:, self._may_be_missing]).astype(np.float32)
        return torch.from_numpy(np.concatenate([scaled, missing], axis=1))


def age_ranges(ages_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which range an age falls into: 0 below a second, then one for every doubling; 0 where it is NaN."""
    ranges = np.log2(1 + np.nan_to_num(ages_s)).astype(np.int64)
    return np.minimum(ranges, AGE_RANGES - 1)
