"""A number as one of a few ranges.

Shape letters: R rows, W words of a record.
"""

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, field_validator

from ranker.features.hashing import combine_keys
from ranker.features.kinds.column import ColumnFeature, Form
from ranker.features.kinds.feature import Features, Input
from ranker.features.kinds.rows import Rows
from ranker.features.record import RecordLayout, Words


class BinFeature(ColumnFeature):
    """A number as one of a few ranges, each with an embedding of its own; a missing one has one too."""

    form = Form.NUMBER
    expected = "a finite number"
    is_key = True
    value_keys = ColumnFeature.value_keys | {"edges"}

    kind: Literal["bin"]
    edges: tuple[float, ...] = Field(min_length=1, description="Where a new range begins, in rising order.")
    dim: PositiveInt = Field(8, description="Width of the embedding.")

    @property
    def input(self) -> Input:
        """One embedding."""
        return Input.EMBEDDING

    def embedding_width(self, features: Features) -> int:
        """`dim`."""
        return self.dim

    @property
    def table_rows(self) -> int:
        """That of a missing number, and one a range."""
        return 2 + len(self.edges)

    def embedding(self, rows: Rows) -> NDArray[np.int64]:
        """(R,) the range's row."""
        return self.ranges(rows.words, rows.records)

    def ranges(self, words: Words, records: RecordLayout) -> NDArray[np.int64]:
        """(R,) which range the number of each record, (R, W), is in: from 1 on, 0 where it is missing."""
        numbers = words[:, records.first_word(self)].view(np.float64)
        ranges = np.searchsorted(np.array(self.edges), numbers, side="right") + 1
        return np.where(np.isnan(numbers), 0, ranges)

    def key_word(self, records: RecordLayout) -> None:
        """None: the key is that of the range, not of the number."""

    def keys(self, words: Words, records: RecordLayout) -> Words:
        """(R, 1) the ranges' hashes."""
        keys = np.empty((len(words), 1), np.uint64)
        ranges = self.ranges(words, records).astype(np.uint64)
        combine_keys(ranges[:, None], np.zeros(1, np.int64), np.zeros(1, np.int64), keys)
        return keys

    @field_validator("edges")
    @classmethod
    def _rising(cls, edges: tuple[float, ...]) -> tuple[float, ...]:
        if any(later <= earlier for earlier, later in pairwise(edges)):
            raise ValueError(f"expected rising edges, found {edges}")
        return edges
