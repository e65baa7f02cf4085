"""The combination of other features' values as one id.

Shape letter: R rows.
"""

from collections.abc import Collection
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from ranker.features.hashing import combine
from ranker.features.kinds.column import ColumnFeature, Form
from ranker.features.kinds.feature import Features, Input
from ranker.features.kinds.hashed import MAX_ROWS, HashedFeature
from ranker.features.kinds.parts import check_parts, made_of
from ranker.features.kinds.rows import Rows
from ranker.features.record import MISSING_KEY, Words
from ranker.features.sides import Group
from ranker.spec_model import Name


class CrossFeature(HashedFeature):
    """The combination of other features' values as one id, such as the viewer's id with the tab.

    Source: Cheng et al. 2016, arXiv 1606.07792.
    """

    kind: Literal["cross"]
    name: Name = Field(description="Unique name.")
    of: tuple[Name, ...] = Field(
        min_length=2, description="Names of the `id`, `category` and `bin` features."
    )
    buckets: PositiveInt = Field(
        65536, le=MAX_ROWS, description="Rows of the table that combinations are hashed into."
    )

    @property
    def input(self) -> Input:
        """One embedding."""
        return Input.EMBEDDING

    @property
    def parts(self) -> tuple[str, ...]:
        """What is combined."""
        return self.of

    def check(self, features: Features, labels: Collection[str]) -> None:
        """See `Feature`."""
        check_parts(self, "a cross expects features of one value each", has_one_key, features, self.of)

    def columns(self, features: Features) -> tuple[ColumnFeature, ...]:
        """Its parts."""
        return tuple(made_of(name, features) for name in self.of)

    def group(self, features: Features) -> Group | None:
        """The rows of its parts, or those of the pairs if its parts differ."""
        groups = {part.group(features) for part in self.columns(features)}
        return groups.pop() if len(groups) == 1 else Group.PAIR

    def embedding(self, rows: Rows) -> NDArray[np.int64]:
        """(R,) the combination's row; that of missing values if all parts are missing."""
        return rows.id_rows(self, self.combined(rows))

    def combined(self, rows: Rows) -> Words:
        """(R,) the combinations' hashes, MISSING_KEY if all parts are missing."""
        parts = [rows.keys(part)[:, 0] for part in self.columns(rows.features)]
        missing = np.logical_and.reduce([part == MISSING_KEY for part in parts])
        return np.where(missing, MISSING_KEY, combine(parts))


def has_one_key(feature: ColumnFeature) -> bool:
    """Whether a feature has one value a row that others can be combined with."""
    return feature.is_key and feature.form is not Form.BAG
