"""A list of ids, such as tags.

Shape letter: R rows.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt

from ranker.features.batch import Bag
from ranker.features.kinds.column import Form
from ranker.features.kinds.feature import Input
from ranker.features.kinds.hashed import MAX_ROWS, SharedTableFeature
from ranker.features.kinds.rows import Rows
from ranker.features.record import MISSING_KEY, MISSING_LIST

if TYPE_CHECKING:
    from ranker.features.record import RecordLayout


class IdsFeature(SharedTableFeature):
    """A bag of ids, such as tags; the mean of their embeddings."""

    renamed_keys: ClassVar = {"most": "max_items"}
    form = Form.BAG
    expected = "a list of ids"
    value_keys = SharedTableFeature.value_keys | {"max_items"}

    kind: Literal["ids"]
    buckets: PositiveInt = Field(1024, le=MAX_ROWS, description="Rows of the table that ids are hashed into.")
    max_items: PositiveInt = Field(
        16,
        le=1024,
        description="Ids of a list that are used, the first ones; stored lists take room for as many.",
    )

    @property
    def input(self) -> Input:
        """The mean of the ids' embeddings."""
        return Input.BAG

    @property
    def words(self) -> int:
        """A word for the length, and one an id."""
        return 1 + self.max_items

    @property
    def record_form(self) -> str:
        """Lists that are cut at different lengths are kept apart."""
        return f"bag of {self.max_items}"

    @property
    def max_keys(self) -> int:
        """One an item."""
        return self.max_items

    def key_word(self, records: "RecordLayout") -> int:
        """The first item's, behind the length."""
        return records.first_word(self) + 1

    def bag(self, rows: Rows) -> Bag:
        """Rows of each list; a missing list has the row of missing, an empty list none."""
        lengths = rows.words[:, rows.records.first_word(self)]
        missing = lengths == MISSING_LIST
        kept = np.where(missing, np.uint64(1), np.minimum(lengths, np.uint64(self.max_items)))
        counts = kept.astype(np.int64)
        inside = np.arange(self.max_items) < counts[:, None]
        keys = np.where(missing[:, None], MISSING_KEY, rows.keys(self))[inside]
        items = rows.id_rows(self, keys) + rows.first_row(self)
        offsets = np.cumsum(counts) - counts
        return Bag(torch.from_numpy(items), torch.from_numpy(offsets), self.embedding_width(rows.features))
