"""Where each feature stands: its rows in the fused embedding tables and its columns in the network's input.

All features whose embeddings have the same width share one table; each owns a range of its rows. Row 0 of
a range is the embedding of a missing value.
"""

from enum import StrEnum
from typing import Final

from ranker.events import USER_ID
from ranker.features.kinds.columns import (
    BinFeature,
    CategoryFeature,
    ColumnFeature,
    CrossFeature,
    Feature,
    IdFeature,
    IdsFeature,
    NumberFeature,
    Side,
    SingleKey,
    TableFeature,
)
from ranker.features.kinds.learned import AgeFeature, HistoryFeature, RateFeature, StateFeature
from ranker.spec import RankerSpec

SingleFeature = SingleKey | CrossFeature
"""A feature with one table row per value."""
KeyPart = SingleKey | IdsFeature
"""A feature that others may be counted by."""
AGE_RANGES: Final = 32
"""Ranges of a history's ages: below a second, below 3, below 7 and so on; the last from 68 years on."""
VIEWER: Final = IdFeature(name=USER_ID, side=Side.USER, kind="id")
"""Whose history it is; read from the records even if it is no feature of the spec."""


class Group(StrEnum):
    """Sides that have the same rows: one for a request, one a candidate, one a pair of both."""

    REQUEST = "request"
    CANDIDATE = "candidate"
    PAIR = "pair"


SIDES: Final = {
    Group.REQUEST: (Side.USER, Side.QUERY, Side.CONTEXT),
    Group.CANDIDATE: (Side.CANDIDATE,),
    Group.PAIR: (Side.PAIR,),
}


class Layout:
    """The places of a spec's features.

    Attributes:
        table_rows: For each embedding width, the rows of its fused table.
        bias: The position tower's features.
    """

    def __init__(self, spec: RankerSpec) -> None:
        self.table_rows: dict[int, int] = {}
        self.bias: tuple[CategoryFeature, ...] = tuple(
            f for f in spec.side(Side.BIAS) if isinstance(f, CategoryFeature)
        )
        self._by_name = {f.name: f for f in spec.features}
        self._features: dict[Group, tuple[Feature, ...]] = {
            group: tuple(f for f in spec.features if self._group_of(f) is group) for group in Group
        }
        self._first_row: dict[str, int] = {}
        for feature in spec.features:
            rows = self._own_rows(feature)
            if rows:
                width = self.width(feature)
                self._first_row[feature.name] = self.table_rows.get(width, 0)
                self.table_rows[width] = self._first_row[feature.name] + rows

    def feature(self, name: str) -> Feature:
        """The feature of this name."""
        return self._by_name[name]

    def parts(self, cross: CrossFeature) -> tuple[SingleKey, ...]:
        """The features that a cross combines."""
        parts = (self._by_name[name] for name in cross.of)
        return tuple(part for part in parts if isinstance(part, SingleKey))

    def key_parts(self, feature: RateFeature | AgeFeature) -> tuple[KeyPart, ...]:
        """The features that a rate or an age is counted by."""
        parts = (self._by_name[name] for name in feature.of)
        return tuple(part for part in parts if isinstance(part, KeyPart))

    def _read_by(self, feature: Feature) -> tuple[ColumnFeature, ...]:
        """The features whose columns a feature is made from."""
        if isinstance(feature, CrossFeature):
            return self.parts(feature)
        if isinstance(feature, HistoryFeature):
            of = self._by_name[feature.of]
            assert isinstance(of, IdFeature | IdsFeature)
            return (VIEWER,) if feature.pool == "mean" else (VIEWER, of)
        if isinstance(feature, AgeFeature) and feature.since is not None:
            since = self._by_name[feature.since]
            assert isinstance(since, NumberFeature)
            return (since,)
        if isinstance(feature, RateFeature | AgeFeature):
            return self.key_parts(feature)
        return (feature,)

    def _group_of(self, feature: Feature) -> Group | None:
        """A combination has the rows of its parts, or those of the pairs if its parts differ.

        What the state knows of a candidate changes with time, so it belongs to the pair with the request.
        The position tower's features have no group.
        """
        if isinstance(feature, ColumnFeature):
            return next((group for group, sides in SIDES.items() if feature.side in sides), None)
        groups = {self._group_of(part) for part in self._read_by(feature)}
        alone = len(groups) == 1 and (isinstance(feature, CrossFeature) or groups == {Group.REQUEST})
        return groups.pop() if alone else Group.PAIR

    @staticmethod
    def _own_rows(feature: Feature) -> int:
        if isinstance(feature, CategoryFeature | BinFeature) and feature.side is not Side.BIAS:
            return feature.size
        if isinstance(feature, HistoryFeature):
            return AGE_RANGES
        if isinstance(feature, TableFeature) and feature.shares is not None:
            return 0
        return table_rows(feature) if isinstance(feature, TableFeature | CrossFeature) else 0

    def owner(self, feature: TableFeature) -> TableFeature:
        """The feature whose range of rows this one uses."""
        owner = self._by_name[feature.shares] if feature.shares else feature
        assert isinstance(owner, TableFeature)
        return owner

    def width(self, feature: Feature) -> int:
        """Width of a feature's embedding; of a number's value and indicator; of all numbers of a rate."""
        if isinstance(feature, TableFeature):
            return self.owner(feature).dim
        if isinstance(feature, HistoryFeature):
            return self.width(self._by_name[feature.of])
        if isinstance(feature, RateFeature):
            return self.state_numbers(feature)
        return 2 if isinstance(feature, NumberFeature | AgeFeature) else feature.dim

    @staticmethod
    def state_numbers(feature: StateFeature) -> int:
        """How many numbers the state gives for a feature: rates and counts, an age, none for a history."""
        if isinstance(feature, RateFeature):
            return (len(feature.labels) + 1) * len(feature.half_lives)
        return 1 if isinstance(feature, AgeFeature) else 0

    def first_row(
        self, feature: TableFeature | CategoryFeature | BinFeature | CrossFeature | HistoryFeature
    ) -> int:
        """The feature's first row in the fused table of its width; of a history, that of its ages."""
        owner = self.owner(feature) if isinstance(feature, TableFeature) else feature
        return self._first_row[owner.name]

    def singles(self, group: Group, width: int) -> tuple[SingleFeature, ...]:
        """The group's features of this width with one table row each, in the order of their columns."""
        return tuple(
            f for f in self._features[group] if isinstance(f, SingleFeature) and self.width(f) == width
        )

    def bags(self, group: Group) -> tuple[IdsFeature, ...]:
        """The group's bags of ids, in the order of their columns."""
        return tuple(f for f in self._features[group] if isinstance(f, IdsFeature))

    def numbers(self, group: Group) -> tuple[NumberFeature, ...]:
        """The group's numbers, in the order of their columns."""
        return tuple(f for f in self._features[group] if isinstance(f, NumberFeature))

    def standardised(self, group: Group) -> int:
        """How many of the group's numbers are standardised: those of its records, then those of the state."""
        return len(self.numbers(group)) + sum(map(self.state_numbers, self.state_features(group)))

    def state_features(self, group: Group) -> tuple[StateFeature, ...]:
        """The group's features that learn from the stream, in the order of their columns."""
        return tuple(f for f in self._features[group] if isinstance(f, StateFeature))

    def attended(self, group: Group) -> tuple[HistoryFeature, ...]:
        """The group's histories that the candidates attend to, in the order of their columns."""
        return tuple(
            f for f in self._features[group] if isinstance(f, HistoryFeature) and f.pool == "attention"
        )

    def features(self, group: Group) -> tuple[Feature, ...]:
        """All features of a group, in the spec's order."""
        return self._features[group]

    def columns(self, group: Group) -> tuple[ColumnFeature, ...]:
        """The features whose columns the group is made from: its own, and the parts of its combinations."""
        found: dict[str, ColumnFeature] = {}
        for feature in self._features[group]:
            found.update({part.name: part for part in self._read_by(feature)})
        return tuple(found.values())

    def input_width(self, group: Group) -> int:
        """Columns of the group's input to the network."""
        return sum(self.width(f) for f in self._features[group])


def table_rows(feature: TableFeature | CrossFeature) -> int:
    """Rows of a feature's own table: that of missing values, and the others."""
    if isinstance(feature, IdFeature) and feature.capacity is not None:
        return feature.capacity + 2  # one for all that have no row of their own
    return feature.buckets + 1
