"""From records to one group's tensors: the second half of encoding, which knows what was learned.

Shape letters: R rows, W words of a record, S features with one embedding, N numbers, K categories.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from ranker.features.batch import GroupInputs
from ranker.features.id_rows import IdRows
from ranker.features.kinds.category import CategoryFeature
from ranker.features.kinds.column import ColumnFeature
from ranker.features.kinds.feature import Feature, Input
from ranker.features.kinds.learned import StateFeature
from ranker.features.kinds.rows import Rows
from ranker.features.layout import Layout
from ranker.features.record import RecordLayout, Words
from ranker.features.sides import Group
from ranker.features.standardise import Standardiser
from ranker.features.state.reading import History, Known
from ranker.features.vocabularies import TextOf, Vocabularies

MAX_NUMBER: Final = 1e100
"""Numbers are cut here: their squares must add up to something finite."""


@dataclass(frozen=True)
class GroupRows(Rows):
    """Rows of a group, as its reader gives them to the kinds of features.

    Attributes:
        layout: Where features stand in the tables.
        ids: Rows of ids.
        category_columns: Which of the looked-up categories is a feature's.
        found: (R, K) the values of all categories, looked up at once.
        histories: What the state remembers, by the feature's name.
    """

    layout: Layout
    ids: IdRows
    category_columns: dict[str, int]
    found: NDArray[np.int64]
    histories: dict[str, History]

    def categories(self, column: ColumnFeature) -> NDArray[np.int64]:
        """See `Rows`."""
        return self.found[:, self.category_columns[column.name]]

    def id_rows(self, feature: Feature, keys: Words) -> NDArray[np.int64]:
        """See `Rows`."""
        return self.ids.rows(feature, keys)

    def first_row(self, feature: Feature) -> int:
        """See `Rows`."""
        return self.layout.first_row(feature)

    def history(self, name: str) -> History:
        """See `Rows`."""
        return self.histories[name]


@dataclass(frozen=True)
class GroupRead:
    """A group's rows, read, with what their reader may learn of them.

    Attributes:
        inputs: For the network.
        categories: (R, K) the values of the group's categories.
        numbers: (R, N) before they were standardised.
    """

    inputs: GroupInputs
    categories: NDArray[np.int64]
    numbers: NDArray[np.float64]


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
        by_width = {width: layout.embedded(group, width) for width in layout.table_rows}
        self._widths = {width: len(features) for width, features in by_width.items() if features}
        self._embedded = [feature for features in by_width.values() for feature in features]
        self._first_rows = np.array([layout.first_row(f) for f in self._embedded], np.int64)
        categories = [f for f in self._embedded if isinstance(f, CategoryFeature)]
        self._category_words = [records.first_word(feature) for feature in categories]
        self._category_columns = {feature.name: index for index, feature in enumerate(categories)}
        self._bags = layout.inputs(group, Input.BAG)
        self._attended = layout.inputs(group, Input.ATTENDED)
        features = layout.inputs(group, Input.NUMBERS)
        self._own_numbers = [f for f in features if not isinstance(f, StateFeature)]
        numbers = layout.numbers(group)
        self._logs = np.array([number.transform == "log1p" for number in numbers], bool)
        self._may_be_missing = np.array([number.may_be_missing for number in numbers], bool)

    def read(self, words: Words, known: Known) -> GroupRead:
        """Read records; nothing is learned of them.

        Args:
            words: (R, W) in this reader's layout.
            known: What the state knows of the same rows.

        Returns:
            R rows of the group's features.
        """
        names = list(self._category_columns)
        found = np.empty((len(words), 0), np.int64)
        if names:
            found = self._vocabularies.categories(names, words[:, self._category_words])
        rows = GroupRows(
            words,
            self._records,
            self._layout.by_name,
            self._layout,
            self._ids,
            self._category_columns,
            found,
            known.histories,
        )
        table_rows = np.empty((len(words), len(self._embedded)), np.int64)
        for index, feature in enumerate(self._embedded):
            table_rows[:, index] = feature.embedding(rows)
        table_rows += self._first_rows
        starts = np.cumsum([0, *self._widths.values()])
        singles = {
            width: torch.from_numpy(table_rows[:, start : start + count])
            for (width, count), start in zip(self._widths.items(), starts, strict=False)
        }
        bags = tuple(feature.bag(rows) for feature in self._bags)
        attended = tuple(feature.attended(rows) for feature in self._attended)
        numbers = self._numbers(rows, known)
        inputs = GroupInputs(len(words), singles, bags, self._standardised(numbers), attended)
        return GroupRead(inputs, found, numbers)

    def observe(self, read: GroupRead, text: TextOf) -> None:
        """Take rows that were read into vocabularies and statistics.

        Args:
            read: What `read` gave.
            text: Gives a category's values as strings.
        """
        self._vocabularies.observe(list(self._category_columns), read.categories, text)
        self._standardiser.observe(read.numbers)

    def _numbers(self, rows: Rows, known: Known) -> NDArray[np.float64]:
        own = [feature.number_values(rows) for feature in self._own_numbers]
        values = np.concatenate([*own, known.numbers], axis=1, dtype=np.float64).clip(-MAX_NUMBER, MAX_NUMBER)
        logs = values[:, self._logs]
        values[:, self._logs] = np.sign(logs) * np.log1p(np.abs(logs))
        return values

    def _standardised(self, numbers: NDArray[np.float64]) -> torch.Tensor:
        scaled = self._standardiser.standardise(numbers)
        missing = np.isnan(numbers[:, self._may_be_missing]).astype(np.float32)
        return torch.from_numpy(np.concatenate([scaled, missing], axis=1))
