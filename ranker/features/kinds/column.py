"""Features with a column of their own.

Shape letters: R rows, W words of a record, K keys of a row.
"""

from collections.abc import Collection
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from ranker.events import QUERY_PREFIX
from ranker.features.kinds.feature import Feature, Features
from ranker.features.sides import SIDES, Group, Side
from ranker.spec_model import Name

if TYPE_CHECKING:
    from ranker.features.record import RecordLayout, Words


class Form(Enum):
    """How a column's values are kept in a record."""

    KEY = "key"
    """One word: the hash of a string."""
    NUMBER = "number"
    """One word: the bits of a float64."""
    BAG = "bag"
    """The length of a list, then the hashes of its first items."""


class ColumnFeature(Feature):
    """A feature with a column of its own.

    Attributes:
        form: How its values are kept in a record.
        expected: The values that its column may hold, in the words of an error message.
        is_key: Whether rates and ages may be of it, and crosses if it has one value a row.
        value_keys: Keys that decide which keys a record has of it.
    """

    form: ClassVar[Form]
    expected: ClassVar[str]
    is_key: ClassVar[bool] = False
    value_keys: ClassVar[frozenset[str]] = frozenset({"kind", "column"})

    name: Name = Field(description="Unique name; the column of the records unless `column` is given.")
    side: Side = Field(
        description="user, query and context are the same for every candidate of a request; candidate "
        "belongs to the video alone; pair needs both; bias feeds the position tower only."
    )
    column: Name | None = Field(None, description="The records' column, if it is not the name.")

    @property
    def source_column(self) -> str:
        """The records' column that holds the feature."""
        return self.column or self.name

    @property
    def words(self) -> int:
        """Words of 64 bits that its value takes in a record."""
        return 1

    @property
    def record_form(self) -> str:
        """Names the words: two features of one column and one such name read the same."""
        return self.form.value

    @property
    def max_keys(self) -> int:
        """Keys that a row may have, K; 1 for a single value."""
        return 1

    def key_word(self, records: "RecordLayout") -> int | None:
        """The first of the words that are the keys themselves; None if keys have to be computed."""
        return records.first_word(self)

    def keys(self, words: "Words", records: "RecordLayout") -> "Words":
        """The keys of rows, by which others count.

        Args:
            words: (R, W).
            records: Where the columns stand in the words.

        Returns:
            (R, K), MISSING_KEY where missing.
        """
        first = self.key_word(records)
        assert first is not None
        return words[:, first : first + self.max_keys]

    def check(self, features: Features, labels: Collection[str]) -> None:
        """See `Feature`."""
        if self.side is Side.QUERY and not self.source_column.startswith(QUERY_PREFIX):
            raise ValueError(
                f"feature '{self.name}': side query expects a column '{QUERY_PREFIX}...', "
                f"found '{self.source_column}'"
            )
        if self.side is Side.BIAS:
            self.check_bias()

    def check_bias(self) -> None:
        """Check that the position tower can read the feature.

        Raises:
            ValueError: It cannot.
        """
        raise ValueError(f"feature '{self.name}': side bias expects kind category, found {self.kind}")

    def columns(self, features: Features) -> tuple["ColumnFeature", ...]:
        """Itself."""
        return (self,)

    def group(self, features: Features) -> Group | None:
        """That of its side; None for side bias."""
        return next((group for group, sides in SIDES.items() if self.side in sides), None)
