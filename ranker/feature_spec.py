"""The features of a spec: when each is known, what it holds, and which table it uses."""

from collections import Counter
from collections.abc import Collection
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from ranker.records import QUERY_PREFIX
from ranker.spec_model import Duration, Name, SpecModel
from ranker.state_spec import AgeFeature, HistoryFeature, RateFeature, StateFeature


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
    """One id out of many: hashed into a table of embeddings, or with a row of its own (`capacity`).

    Source of the latter: Liu et al. 2022 (Monolith), arXiv 2209.07663.
    """

    kind: Literal["id"]
    buckets: PositiveInt = Field(65536, description="Rows of the table that ids are hashed into.")
    dim: PositiveInt = Field(16, description="Width of the embedding.")
    shares: Name | None = Field(None, description="Use the table of this other `id` or `ids` feature.")
    capacity: PositiveInt | None = Field(
        None,
        description="In place of `buckets`: so many ids have a row each, without collisions; of more, the "
        "least recently seen loses its row.",
    )
    admit: PositiveInt = Field(
        1, description="With `capacity`: sightings after which an id has a row; before, ids share one."
    )
    expire: Duration | None = Field(
        None, description="With `capacity`: time after which an id that was not seen loses its row."
    )

    @model_validator(mode="after")
    def _own_rows_or_buckets(self) -> Self:
        if self.capacity is not None and self.buckets != type(self).model_fields["buckets"].default:
            raise ValueError(f"feature '{self.name}': expected either 'buckets' or 'capacity', found both")
        if self.capacity is None and (self.admit > 1 or self.expire is not None):
            raise ValueError(f"feature '{self.name}': 'admit' and 'expire' expect 'capacity', found none")
        return self


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


class BinFeature(FeatureBase):
    """A number as one of a few ranges, each with an embedding of its own; a missing one has one too."""

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
TABLE_KEYS: Final = frozenset({"buckets", "dim", "capacity", "admit", "expire"})
"""What is said of a table where it is owned, and not where it is shared."""
NUMERIC: Final = (NumberFeature, BinFeature)
"""Features whose columns hold numbers."""
SingleKey = IdFeature | CategoryFeature | BinFeature
"""A feature that has one value out of a few or many: what can be combined, and counted by."""


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
    given = TABLE_KEYS & feature.model_fields_set
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
    _check_parts(cross.name, "a cross", cross.of, SingleKey, features)


def check_state_feature(feature: StateFeature, features: dict[str, Feature], labels: Collection[str]) -> None:
    """Check that a feature of the state is made of features and labels that there are.

    Args:
        feature: The feature.
        features: All of the spec's, by name.
        labels: Names of the spec's tasks and other labels.

    Raises:
        ValueError: It is not; pydantic makes a `SpecError` of it.
    """
    if isinstance(feature, HistoryFeature):
        kinds = IdFeature | IdsFeature if feature.pool == "mean" else IdFeature
        _check_parts(feature.name, "a history", (feature.of,), kinds, features, (Side.CANDIDATE,))
    elif isinstance(feature, AgeFeature) and feature.since is not None:
        _check_parts(feature.name, "since", (feature.since,), NumberFeature, features)
    else:
        _check_parts(
            feature.name, f"a key of kind {feature.kind}", feature.of, SingleKey | IdsFeature, features
        )
        lists = [name for name in feature.of if isinstance(features[name], IdsFeature)]
        if len(lists) > 1:
            raise ValueError(
                f"feature '{feature.name}': a key expects one list at most, found {', '.join(lists)}"
            )
    counted: tuple[str | None, ...] = ()
    if isinstance(feature, RateFeature):
        counted = feature.labels
        refuse_doubles(list(feature.labels), f"labels of '{feature.name}'")
        _check_prior(feature, features)
    elif isinstance(feature, HistoryFeature):
        counted = (feature.label,)
    for label in counted:
        if label is not None and label not in labels:
            raise ValueError(
                f"feature '{feature.name}': expected a task or label ({', '.join(labels)}), found '{label}'"
            )


def _check_prior(rate: RateFeature, features: dict[str, Feature]) -> None:
    """Check that the rate that another one is drawn towards has what it needs, for a part of the same key."""
    strengths = rate.strength if isinstance(rate.strength, dict) else {}
    for label in strengths:
        if label not in rate.labels:
            raise ValueError(
                f"feature '{rate.name}': strength expects labels out of {', '.join(rate.labels)}, "
                f"found '{label}'"
            )
    if isinstance(rate.strength, dict) and len(strengths) < len(rate.labels):
        lacking = next(label for label in rate.labels if label not in strengths)
        raise ValueError(f"feature '{rate.name}': strength expects all labels, found none for '{lacking}'")
    if rate.toward is None:
        return
    prior = features.get(rate.toward)
    if not (
        isinstance(prior, RateFeature)
        and prior.toward is None
        and set(prior.of) < set(rate.of)
        and set(prior.labels) >= set(rate.labels)
        and set(prior.half_lives) >= set(rate.half_lives)
    ):
        raise ValueError(
            f"feature '{rate.name}': toward expects a rate of a part of {', '.join(rate.of)} with its "
            f"half-lives and labels, and toward none itself, found '{rate.toward}'"
        )


def _check_parts(
    name: str,
    what: str,
    of: tuple[str, ...],
    kinds: Any,
    features: dict[str, Feature],
    sides: tuple[Side, ...] = (Side.USER, Side.QUERY, Side.CONTEXT, Side.CANDIDATE, Side.PAIR),
) -> None:
    refuse_doubles(list(of), f"parts of '{name}'")
    usable = [f.name for f in features.values() if isinstance(f, kinds) and f.side in sides]
    for part in of:
        if part not in usable:
            names = [
                kind.model_fields["kind"].annotation.__args__[0]
                for kind in getattr(kinds, "__args__", (kinds,))
            ]
            raise ValueError(
                f"feature '{name}': {what} expects features of kind {' or '.join(names)} "
                f"({', '.join(usable)}), found '{part}'"
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
