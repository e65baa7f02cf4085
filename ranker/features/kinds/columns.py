"""The features of a spec: when each is known, what it holds, and which table it uses."""

from enum import Enum, StrEnum
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from ranker.features.kinds.learned import StateFeature
from ranker.spec_model import Duration, Name, SpecModel


class Side(StrEnum):
    """When a feature is known."""

    USER = "user"
    QUERY = "query"
    CONTEXT = "context"
    CANDIDATE = "candidate"
    PAIR = "pair"
    BIAS = "bias"


class Form(Enum):
    """How a column's values are kept in a record."""

    KEY = "key"
    """One word: the hash of a string."""
    NUMBER = "number"
    """One word: the bits of a float64."""
    BAG = "bag"
    """The length of a list, then the hashes of its first items."""


class FeatureBase(SpecModel):
    """What every feature with a column of its own has.

    Attributes:
        form: How its values are kept in a record.
        expected: The values that its column may hold, in the words of an error message.
    """

    form: ClassVar[Form]
    expected: ClassVar[str]

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


class IdFeature(FeatureBase):
    """One id out of many: hashed into a table of embeddings, or with a row of its own (`capacity`).

    Source of the latter: Liu et al. 2022 (Monolith), arXiv 2209.07663.
    """

    renamed_keys: ClassVar = {"admit": "admission_threshold", "expire": "expire_after"}

    form = Form.KEY
    expected = "an id (a string or a whole number)"

    kind: Literal["id"]
    buckets: PositiveInt = Field(65536, description="Rows of the table that ids are hashed into.")
    dim: PositiveInt = Field(16, description="Width of the embedding.")
    shares: Name | None = Field(None, description="Use the table of this other `id` or `ids` feature.")
    capacity: PositiveInt | None = Field(
        None,
        description="In place of `buckets`: so many ids have a row each, without collisions; of more, the "
        "least recently seen loses its row.",
    )
    admission_threshold: PositiveInt = Field(
        1, description="With `capacity`: sightings after which an id has a row; before, ids share one."
    )
    expire_after: Duration | None = Field(
        None, description="With `capacity`: time after which an id that was not seen loses its row."
    )

    @model_validator(mode="after")
    def _own_rows_or_buckets(self) -> Self:
        if self.capacity is not None and self.buckets != type(self).model_fields["buckets"].default:
            raise ValueError(f"feature '{self.name}': expected either 'buckets' or 'capacity', found both")
        if self.capacity is None and (self.admission_threshold > 1 or self.expire_after is not None):
            raise ValueError(
                f"feature '{self.name}': 'admission_threshold' and 'expire_after' expect 'capacity', "
                "found none"
            )
        return self


class IdsFeature(FeatureBase):
    """A bag of ids, such as tags; the mean of their embeddings."""

    renamed_keys: ClassVar = {"most": "max_items"}

    form = Form.BAG
    expected = "a list of ids"

    kind: Literal["ids"]
    buckets: PositiveInt = Field(1024, description="Rows of the table that ids are hashed into.")
    dim: PositiveInt = Field(16, description="Width of the embedding.")
    max_items: PositiveInt = Field(
        16,
        le=1024,
        description="Ids of a list that are used, the first ones; stored lists take room for as many.",
    )
    shares: Name | None = Field(None, description="Use the table of this other `id` or `ids` feature.")

    @property
    def words(self) -> int:
        """A word for the length, and one an id."""
        return 1 + self.max_items

    @property
    def record_form(self) -> str:
        """Lists that are cut at different lengths are kept apart."""
        return f"bag of {self.max_items}"


class CategoryFeature(FeatureBase):
    """One of a few values, each with an embedding of its own; further values share the one of `other`."""

    form = Form.KEY
    expected = "a string, a number or true/false"

    kind: Literal["category"]
    values: tuple[str | int, ...] | None = Field(
        None, description="The values. Without it, the first `capacity` values met in training."
    )
    capacity: PositiveInt = Field(64, description="Most values that are learned from the data.")
    dim: PositiveInt = Field(8, description="Width of the embedding.")

    @field_validator("values", mode="before")
    @classmethod
    def _refuse_what_no_log_holds(cls, values: Any) -> Any:
        for value in values if isinstance(values, list | tuple) else ():
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise ValueError(
                    f"expected strings or whole numbers, found {value!r:.80}; "
                    "quote a string that YAML reads as something else"
                )
        return values

    @property
    def size(self) -> int:
        """Rows of the feature's table: missing, other, and the values."""
        return 2 + (self.capacity if self.values is None else len(self.values))


class NumberFeature(FeatureBase):
    """A number, standardised with running statistics; an indicator says that it is missing."""

    form = Form.NUMBER
    expected = "a finite number"

    kind: Literal["number"]
    transform: Literal["identity", "log1p"] = Field(
        "identity", description="log1p for counts and durations, before standardising."
    )


class BinFeature(FeatureBase):
    """A number as one of a few ranges, each with an embedding of its own; a missing one has one too."""

    form = Form.NUMBER
    expected = "a finite number"

    kind: Literal["bin"]
    edges: tuple[float, ...] = Field(min_length=1, description="Where a new range begins, in rising order.")
    dim: PositiveInt = Field(8, description="Width of the embedding.")

    @field_validator("edges")
    @classmethod
    def _rising(cls, edges: tuple[float, ...]) -> tuple[float, ...]:
        if any(later <= earlier for earlier, later in pairwise(edges)):
            raise ValueError(f"expected rising edges, found {edges}")
        return edges

    @property
    def size(self) -> int:
        """Rows of the feature's table: missing, and the ranges."""
        return 2 + len(self.edges)


class CrossFeature(SpecModel):
    """The combination of other features' values as one id, such as the viewer's id with the tab.

    Source: Cheng et al. 2016, arXiv 1606.07792.
    """

    kind: Literal["cross"]
    name: Name = Field(description="Unique name.")
    of: tuple[Name, ...] = Field(
        min_length=2, description="Names of the `id`, `category` and `bin` features."
    )
    buckets: PositiveInt = Field(65536, description="Rows of the table that combinations are hashed into.")
    dim: PositiveInt = Field(16, description="Width of the embedding.")


ColumnFeature = IdFeature | IdsFeature | CategoryFeature | NumberFeature | BinFeature
Feature = Annotated[ColumnFeature | CrossFeature | StateFeature, Field(discriminator="kind")]
TableFeature = IdFeature | IdsFeature
TABLE_KEYS: Final = frozenset({"buckets", "dim", "capacity", "admission_threshold", "expire_after"})
"""What is said of a table where it is owned, and not where it is shared."""
SingleKey = IdFeature | CategoryFeature | BinFeature
"""A feature that has one value out of a few or many: what can be combined, and counted by."""
