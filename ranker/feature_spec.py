"""The features of a spec: when each is known, what it holds, and which table it uses."""

from collections import Counter
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    StringConstraints,
    field_validator,
    model_validator,
)

from ranker.records import QUERY_PREFIX

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]


class SpecModel(BaseModel):
    """A frozen part of the spec that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_the_known_keys(cls, given: Any) -> Any:
        unknown = [key for key in given if key not in cls.model_fields] if isinstance(given, dict) else []
        if unknown:
            raise ValueError(f"expected the keys {', '.join(cls.model_fields)}, found '{unknown[0]}'")
        return given


class Side(StrEnum):
    """When a feature is known."""

    USER = "user"
    QUERY = "query"
    CONTEXT = "context"
    CANDIDATE = "candidate"
    PAIR = "pair"
    BIAS = "bias"


class FeatureBase(SpecModel):
    """What every feature has."""

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


class IdFeature(FeatureBase):
    """One id out of many, hashed into a table of embeddings."""

    kind: Literal["id"]
    buckets: PositiveInt = Field(65536, description="Rows of the table that ids are hashed into.")
    dim: PositiveInt = Field(16, description="Width of the embedding.")
    shares: Name | None = Field(None, description="Use the table of this other `id` or `ids` feature.")


class IdsFeature(FeatureBase):
    """A bag of ids, such as tags; the mean of their embeddings."""

    kind: Literal["ids"]
    buckets: PositiveInt = Field(1024, description="Rows of the table that ids are hashed into.")
    dim: PositiveInt = Field(16, description="Width of the embedding.")
    most: PositiveInt = Field(
        16,
        le=1024,
        description="Ids of a list that are used, the first ones; stored lists take room for as many.",
    )
    shares: Name | None = Field(None, description="Use the table of this other `id` or `ids` feature.")


class CategoryFeature(FeatureBase):
    """One of a few values, each with an embedding of its own; further values share the one of `other`."""

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

    kind: Literal["number"]
    transform: Literal["identity", "log1p"] = Field(
        "identity", description="log1p for counts and durations, before standardising."
    )


class CrossFeature(SpecModel):
    """The combination of other features' values as one id, such as the viewer's id with the tab.

    Source: Cheng et al. 2016, arXiv 1606.07792.
    """

    kind: Literal["cross"]
    name: Name = Field(description="Unique name.")
    of: tuple[Name, ...] = Field(min_length=2, description="Names of the `id` and `category` features.")
    buckets: PositiveInt = Field(65536, description="Rows of the table that combinations are hashed into.")
    dim: PositiveInt = Field(16, description="Width of the embedding.")


ColumnFeature = IdFeature | IdsFeature | CategoryFeature | NumberFeature
Feature = Annotated[ColumnFeature | CrossFeature, Field(discriminator="kind")]
TableFeature = IdFeature | IdsFeature


def check_feature(feature: ColumnFeature, features: dict[str, Feature]) -> None:
    """Check that a feature fits its side, and shares a table that there is.

    Args:
        feature: The feature.
        features: All of the spec's, by name.

    Raises:
        ValueError: It does not; pydantic makes a `SpecError` of it.
    """
    if feature.side is Side.BIAS and feature.kind != "category":
        raise ValueError(f"feature '{feature.name}': side bias expects kind category, found {feature.kind}")
    if feature.side is Side.QUERY and not feature.source_column.startswith(QUERY_PREFIX):
        raise ValueError(
            f"feature '{feature.name}': side query expects a column '{QUERY_PREFIX}...', "
            f"found '{feature.source_column}'"
        )
    if isinstance(feature, CategoryFeature):
        refuse_doubles([str(value) for value in feature.values or ()], f"values of '{feature.name}'")
    if not isinstance(feature, TableFeature) or feature.shares is None:
        return
    owner = features.get(feature.shares)
    if not isinstance(owner, TableFeature) or owner.shares is not None:
        tables = [f.name for f in features.values() if isinstance(f, TableFeature) and f.shares is None]
        raise ValueError(
            f"feature '{feature.name}': shares expects a feature with a table of its own "
            f"({', '.join(tables)}), found '{feature.shares}'"
        )
    given = {"buckets", "dim"} & feature.model_fields_set
    if given:
        raise ValueError(
            f"feature '{feature.name}': shares the table of '{feature.shares}', "
            f"so expected no '{min(given)}' of its own"
        )


def check_cross(cross: CrossFeature, features: dict[str, Feature]) -> None:
    """Check that a cross combines features that have one value each.

    Args:
        cross: The cross.
        features: All of the spec's, by name.

    Raises:
        ValueError: It does not; pydantic makes a `SpecError` of it.
    """
    refuse_doubles(list(cross.of), f"parts of '{cross.name}'")
    for name in cross.of:
        part = features.get(name)
        if not isinstance(part, IdFeature | CategoryFeature) or part.side is Side.BIAS:
            usable = [
                f.name
                for f in features.values()
                if isinstance(f, IdFeature | CategoryFeature) and f.side is not Side.BIAS
            ]
            raise ValueError(
                f"feature '{cross.name}': a cross expects features of kind id or category "
                f"({', '.join(usable)}), found '{name}'"
            )


def refuse_doubles(names: list[str], what: str) -> None:
    """Check that each name is there once.

    Args:
        names: The names.
        what: What they name, for the message.

    Raises:
        ValueError: One is there twice.
    """
    doubles = [name for name, count in Counter(names).items() if count > 1]
    if doubles:
        raise ValueError(f"expected one each, found two {what} '{doubles[0]}'")
