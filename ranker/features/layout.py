"""Where each feature stands: its rows in the fused embedding tables and its columns in the network's input.

All features whose embeddings have the same width share one table; each owns a range of its rows. Row 0 of
a range is the embedding of a missing value.
"""

from enum import StrEnum
from typing import Final

from ranker.feature_spec import (
    CategoryFeature,
    ColumnFeature,
    CrossFeature,
    Feature,
    IdFeature,
    IdsFeature,
    NumberFeature,
    Side,
    TableFeature,
)
from ranker.spec import RankerSpec

SingleFeature = IdFeature | CategoryFeature | CrossFeature
"""A feature with one table row per value."""


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

    def parts(self, cross: CrossFeature) -> tuple[IdFeature | CategoryFeature, ...]:
        """The features that a cross combines."""
        parts = (self._by_name[name] for name in cross.of)
        return tuple(part for part in parts if isinstance(part, IdFeature | CategoryFeature))

    def _group_of(self, feature: Feature) -> Group | None:
        """A cross has the rows of its parts, or those of the pairs if its parts differ; bias has no group."""
        if isinstance(feature, CrossFeature):
            groups = {self._group_of(part) for part in self.parts(feature)}
            return groups.pop() if len(groups) == 1 else Group.PAIR
        return next((group for group, sides in SIDES.items() if feature.side in sides), None)

    @staticmethod
    def _own_rows(feature: Feature) -> int:
        if isinstance(feature, CategoryFeature) and feature.side is not Side.BIAS:
            return feature.size
        if isinstance(feature, TableFeature) and feature.shares is not None:
            return 0
        return feature.buckets + 1 if isinstance(feature, TableFeature | CrossFeature) else 0

    def owner(self, feature: TableFeature) -> TableFeature:
        """The feature whose range of rows this one uses."""
        owner = self._by_name[feature.shares] if feature.shares else feature
        assert isinstance(owner, TableFeature)
        return owner

    def width(self, feature: Feature) -> int:
        """Width of a feature's embedding; of a number's value and indicator."""
        if isinstance(feature, TableFeature):
            return self.owner(feature).dim
        return 2 if isinstance(feature, NumberFeature) else feature.dim

    def first_row(self, feature: TableFeature | CategoryFeature | CrossFeature) -> int:
        """The feature's first row in the fused table of its width."""
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

    def features(self, group: Group) -> tuple[Feature, ...]:
        """All features of a group, in the spec's order."""
        return self._features[group]

    def columns(self, group: Group) -> tuple[ColumnFeature, ...]:
        """The features whose columns the group is made from: its own, and the parts of its crosses."""
        found: dict[str, ColumnFeature] = {}
        for feature in self._features[group]:
            parts = self.parts(feature) if isinstance(feature, CrossFeature) else (feature,)
            found.update({part.name: part for part in parts})
        return tuple(found.values())

    def input_width(self, group: Group) -> int:
        """Columns of the group's input to the network."""
        return sum(self.width(f) for f in self._features[group])
