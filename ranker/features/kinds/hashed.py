"""Features whose values are looked up in a table of ids: hashed into buckets, or with rows of their own."""

from collections.abc import Collection
from typing import ClassVar, Final

from pydantic import Field, PositiveInt

from ranker.did_you_mean import did_you_mean
from ranker.features.id_table import IdTable
from ranker.features.kinds.column import ColumnFeature
from ranker.features.kinds.feature import Feature, Features
from ranker.spec_model import Name

TABLE_KEYS: Final = frozenset({"buckets", "dim", "capacity", "admission_threshold", "expire_after"})
"""What is said of a table where it is owned, and not where it is shared."""
MAX_ROWS: Final = 2**31 - 1
"""Rows that a table may have."""


class HashedFeature(Feature):
    """A feature with a table of ids."""

    buckets: PositiveInt = Field(
        65536, le=MAX_ROWS, description="Rows of the table that ids are hashed into."
    )
    dim: PositiveInt = Field(16, description="Width of the embedding.")

    def embedding_width(self, features: Features) -> int:
        """`dim` of the owner."""
        owner = self.owner(features)
        assert isinstance(owner, HashedFeature)
        return owner.dim

    @property
    def table_rows(self) -> int:
        """That of missing values, and the buckets."""
        return self.buckets + 1

    def id_table(self) -> IdTable | None:
        """An empty table with a row for each id; None if ids are hashed into buckets."""
        return None


class SharedTableFeature(HashedFeature, ColumnFeature):
    """A feature of ids that has a table of its own, or uses that of another one."""

    is_key: ClassVar = True

    shares: Name | None = Field(None, description="Use the table of this other `id` or `ids` feature.")

    def owner(self, features: Features) -> Feature:
        """The feature that is shared with, or itself."""
        return features[self.shares] if self.shares else self

    @property
    def table_rows(self) -> int:
        """0 if another feature's table is used."""
        return 0 if self.shares else super().table_rows

    @property
    def unsaid_keys(self) -> frozenset[str]:
        """Those of the table if it is another feature's."""
        return TABLE_KEYS if self.shares else frozenset()

    def check(self, features: Features, labels: Collection[str]) -> None:
        """See `Feature`: a table that is shared is one that there is, and is described there alone."""
        super().check(features, labels)
        if self.shares is None:
            return
        owner = features.get(self.shares)
        if not isinstance(owner, SharedTableFeature) or owner.shares is not None:
            tables = [
                f.name for f in features.values() if isinstance(f, SharedTableFeature) and f.shares is None
            ]
            raise ValueError(
                f"feature '{self.name}': shares expects a feature with a table of its own "
                f"({', '.join(tables)}), found '{self.shares}'{did_you_mean(self.shares, tables)}"
            )
        given = TABLE_KEYS & self.model_fields_set
        if given:
            raise ValueError(
                f"feature '{self.name}': shares the table of '{self.shares}', "
                f"so expected no '{min(given)}' of its own"
            )
