"""What a kind of feature is given to encode from: the rows of one group.

Shape letters: R rows, W words of a record, E entries of a history.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranker.features.kinds.column import ColumnFeature
from ranker.features.kinds.feature import Feature, Features
from ranker.features.record import RecordLayout, Words
from ranker.features.state.reading import History


@dataclass(frozen=True)
class Rows(ABC):
    """Rows of a group, with what was learned before them.

    Attributes:
        words: (R, W) their records.
        records: Where the columns stand in the words.
        features: All of the spec's, by name.
    """

    words: Words
    records: RecordLayout
    features: Features

    def keys(self, column: ColumnFeature) -> Words:
        """(R, K) the keys of a column, MISSING_KEY where missing."""
        return column.keys(self.words, self.records)

    def numbers(self, column: ColumnFeature) -> NDArray[np.float64]:
        """(R,) the numbers of a column of that form, NaN where missing."""
        return self.words[:, self.records.first_word(column)].view(np.float64)

    @abstractmethod
    def categories(self, column: ColumnFeature) -> NDArray[np.int64]:
        """(R,) which value of its vocabulary a category has: MISSING, OTHER, or FIRST_VALUE and above."""

    @abstractmethod
    def id_rows(self, feature: Feature, keys: Words) -> NDArray[np.int64]:
        """The rows that ids have among those of the feature's owner: MISSING, or 1 and above.

        Args:
            feature: Whose ids they are.
            keys: In any shape, MISSING_KEY where missing.
        """

    @abstractmethod
    def first_row(self, feature: Feature) -> int:
        """Where the rows of the feature's owner begin in the fused table."""

    @abstractmethod
    def history(self, name: str) -> History:
        """What the state remembers for a feature, (R, E)."""
