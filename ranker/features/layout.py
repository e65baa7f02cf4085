"""Where each feature stands: its rows in the fused embedding tables and its columns in the network's input.

All features whose embeddings have the same width share one table; each owns a range of its rows. Row 0 of
a range is the embedding of a missing value.
"""

from collections.abc import Mapping

from ranker.features.kinds.category import CategoryFeature
from ranker.features.kinds.column import ColumnFeature
from ranker.features.kinds.feature import Feature, Input, Number
from ranker.features.kinds.learned import StateFeature
from ranker.features.sides import Group, Side
from ranker.spec import RankerSpec


class Layout:
    """The ranges and columns of a spec's features.

    Attributes:
        by_name: The features by their names.
        table_rows: For each embedding width, the rows of its fused table.
        bias: The position tower's features.
    """

    def __init__(self, spec: RankerSpec) -> None:
        self.by_name: Mapping[str, Feature] = {f.name: f for f in spec.features}
        self.table_rows: dict[int, int] = {}
        self.bias = tuple(f for f in spec.side(Side.BIAS) if isinstance(f, CategoryFeature))
        self._labels = spec.feedback
        groups = {f.name: f.group(self.by_name) for f in spec.features}
        self._features: dict[Group, tuple[Feature, ...]] = {
            group: tuple(f for f in spec.features if groups[f.name] is group) for group in Group
        }
        self._first_row: dict[str, int] = {}
        for feature in spec.features:
            if feature.table_rows:
                width = feature.embedding_width(self.by_name)
                self._first_row[feature.name] = self.table_rows.get(width, 0)
                self.table_rows[width] = self._first_row[feature.name] + feature.table_rows

    def width(self, feature: Feature) -> int:
        """Width of a feature's embedding; or of all its numbers, with the indicators of missing ones."""
        if feature.input is Input.NUMBERS:
            numbers = self.numbers_of(feature)
            return len(numbers) + sum(number.may_be_missing for number in numbers)
        return feature.embedding_width(self.by_name)

    def numbers_of(self, feature: Feature) -> tuple[Number, ...]:
        """The numbers that a feature gives."""
        return feature.numbers(self._labels)

    def first_row(self, feature: Feature) -> int:
        """The first row of a feature's range, or of its owner's, in the fused table of its width."""
        return self._first_row[feature.owner(self.by_name).name]

    def embedded(self, group: Group, width: int) -> tuple[Feature, ...]:
        """The group's features with one embedding of this width a row, in the order of their columns."""
        return tuple(f for f in self.inputs(group, Input.EMBEDDING) if self.width(f) == width)

    def inputs(self, group: Group, kind: Input) -> tuple[Feature, ...]:
        """The group's features of one kind of input, in the order of their columns: the state's come last."""
        found = [feature for feature in self._features[group] if feature.input is kind]
        return tuple(sorted(found, key=lambda feature: isinstance(feature, StateFeature)))

    def numbers(self, group: Group) -> tuple[Number, ...]:
        """All numbers of a group that are standardised, in the order of their columns."""
        features = self.inputs(group, Input.NUMBERS)
        return tuple(number for feature in features for number in self.numbers_of(feature))

    def state_features(self, group: Group) -> tuple[StateFeature, ...]:
        """The group's features that learn from the stream, in the order of their columns."""
        return tuple(f for f in self._features[group] if isinstance(f, StateFeature))

    def features(self, group: Group) -> tuple[Feature, ...]:
        """All features of a group, in the spec's order."""
        return self._features[group]

    def columns(self, group: Group) -> tuple[ColumnFeature, ...]:
        """The features whose columns the group is made from: its own, and the parts of its combinations."""
        found: dict[str, ColumnFeature] = {}
        for feature in self._features[group]:
            found.update({column.name: column for column in feature.columns(self.by_name)})
        return tuple(found.values())

    def input_width(self, group: Group) -> int:
        """Columns of the group's input to the network."""
        return sum(self.width(f) for f in self._features[group])
