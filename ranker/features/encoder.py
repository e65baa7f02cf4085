"""From columns to tensors: the one path that a training batch and a request share.

Shape letters: R rows, N numbers, S single-valued features of one width.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ranker.feature_spec import CategoryFeature, ColumnFeature, IdFeature, IdsFeature, NumberFeature
from ranker.features.batch import Bag, Encoded, GroupInputs
from ranker.features.hashing import combine, hash_strings
from ranker.features.layout import SIDES, Group, Layout, SingleFeature
from ranker.features.standardise import Standardiser, Statistics
from ranker.features.values import FeatureValue, canonical, column_of
from ranker.spec import RankerSpec

ColumnOf = Callable[[ColumnFeature], pa.Array]
MISSING, OTHER, FIRST_VALUE = 0, 1, 2
NO_VALUE: Final = np.uint64(0)
"""In place of the hash of a cross's part that is missing."""
LARGEST: Final = 1e100
"""Numbers are cut here: their squares must add up to something finite."""


class EncoderState(BaseModel):
    """What the encoder has learned from the rows it observed: part of a checkpoint and of a bundle."""

    model_config = ConfigDict(extra="forbid")

    vocabularies: dict[str, list[str]]
    statistics: dict[Group, Statistics]


class Encoder:
    """Turns Arrow columns or a request's JSON values into tensors.

    Args:
        spec: Names the features; the encoder reads the columns that it names and no others.
    """

    def __init__(self, spec: RankerSpec) -> None:
        self.spec = spec
        self.layout = Layout(spec)
        self._standardisers = {group: Standardiser(len(self.layout.numbers(group))) for group in Group}
        self._vocabularies = {
            f.name: [str(value) for value in f.values or ()]
            for f in spec.features
            if isinstance(f, CategoryFeature)
        }

    def encode_examples(self, batch: pa.RecordBatch, *, observe: bool = False) -> Encoded:
        """Encode rows of a log.

        Args:
            batch: B rows with the spec's feature columns.
            observe: Take the rows into vocabularies and statistics. They are used from the next batch on:
                a row is always encoded with what earlier batches told.

        Returns:
            All groups with B rows, and the bias features.

        Raises:
            FeatureError: A column has the wrong type; the message names it.
        """

        def column(feature: ColumnFeature) -> pa.Array:
            return canonical(batch.column(feature.source_column), feature)

        groups = {group: self._group(group, batch.num_rows, column, observe) for group in Group}
        bias = [self._categories(column(f), f, observe) for f in self.layout.bias]
        stacked = np.stack(bias, axis=1) if bias else np.zeros((batch.num_rows, 0), np.int64)
        return Encoded(groups, torch.from_numpy(stacked))

    def encode_request(
        self, request: Mapping[str, FeatureValue], candidates: Sequence[Mapping[str, FeatureValue]]
    ) -> Encoded:
        """Encode a request and its candidates.

        Args:
            request: Values of the user, query and context columns; an absent one is missing.
            candidates: For each candidate, values of the candidate and pair columns.

        Returns:
            One row for the request, one a candidate for the other groups, no bias features.

        Raises:
            FeatureError: A value has the wrong type; the error names the column and the candidate's row.
        """

        def request_column(feature: ColumnFeature) -> pa.Array:
            return column_of([request.get(feature.source_column)], feature)

        count = len(candidates)

        def candidate_column(feature: ColumnFeature) -> pa.Array:
            name = feature.source_column
            if feature.side in SIDES[Group.REQUEST]:  # a cross's part
                return column_of([request.get(name)] * count, feature)
            return column_of([candidate.get(name) for candidate in candidates], feature)

        return Encoded(
            {
                Group.REQUEST: self._group(Group.REQUEST, 1, request_column, observe=False),
                Group.CANDIDATE: self._group(Group.CANDIDATE, count, candidate_column, observe=False),
                Group.PAIR: self._group(Group.PAIR, count, candidate_column, observe=False),
            },
            bias=None,
        )

    def state(self) -> EncoderState:
        """Vocabularies and statistics as they are now."""
        return EncoderState(
            vocabularies={name: list(values) for name, values in self._vocabularies.items()},
            statistics={group: s.state() for group, s in self._standardisers.items()},
        )

    def load(self, state: EncoderState) -> None:
        """Go on from a saved state."""
        self._vocabularies = {name: list(values) for name, values in state.vocabularies.items()}
        for group, statistics in state.statistics.items():
            self._standardisers[group].load(statistics)

    def _group(self, group: Group, count: int, column: ColumnOf, observe: bool) -> GroupInputs:
        singles: dict[int, Tensor] = {}
        for width in self.layout.table_rows:
            features = self.layout.singles(group, width)
            if features:
                rows = np.empty((count, len(features)), np.int64)
                for place, feature in enumerate(features):
                    rows[:, place] = self.layout.first_row(feature) + self._rows(column, feature, observe)
                singles[width] = torch.from_numpy(rows)
        bags = tuple(self._bag(column(f), f) for f in self.layout.bags(group))
        return GroupInputs(count, singles, bags, self._numbers(group, count, column, observe))

    def _rows(self, column: ColumnOf, feature: SingleFeature, observe: bool) -> NDArray[np.int64]:
        """The row of every value, inside the feature's range."""
        if isinstance(feature, CategoryFeature):
            return self._categories(column(feature), feature, observe)
        if isinstance(feature, IdFeature):
            values = column(feature)
            buckets = _bucket(self._hash(values, feature), self.layout.owner(feature).buckets)
            return np.where(_is_null(values), MISSING, buckets)
        parts = [(part, column(part)) for part in self.layout.parts(feature)]
        missing = [_is_null(values) for _, values in parts]
        hashes = [self._hash(values, part) for part, values in parts]
        combined = combine([np.where(gap, NO_VALUE, each) for gap, each in zip(missing, hashes, strict=True)])
        return np.where(np.logical_and.reduce(missing), MISSING, _bucket(combined, feature.buckets))

    def _hash(
        self, strings: pa.Array, feature: ColumnFeature, owner: NDArray[np.int64] | None = None
    ) -> NDArray[np.uint64]:
        return hash_strings(strings, seed=self.spec.hash_seed, name=feature.source_column, rows=owner)

    def _categories(self, column: pa.Array, feature: CategoryFeature, observe: bool) -> NDArray[np.int64]:
        vocabulary = self._vocabularies[feature.name]
        place = pc.index_in(column, value_set=pa.array(vocabulary, pa.string()), skip_nulls=True)
        found = pc.fill_null(place, OTHER - FIRST_VALUE).to_numpy(zero_copy_only=False).astype(np.int64)
        missing = _is_null(column)
        if observe and feature.values is None and len(vocabulary) < feature.capacity:
            fresh = pc.unique(column.filter(pa.array((found == OTHER - FIRST_VALUE) & ~missing)))
            vocabulary.extend(fresh.to_pylist()[: feature.capacity - len(vocabulary)])
        return np.where(missing, MISSING, found + FIRST_VALUE)

    def _bag(self, column: pa.Array, feature: IdsFeature) -> Bag:
        """Ids of each list; a missing list has the row of missing, an empty list none."""
        missing = _is_null(column)
        filled = pc.if_else(pa.array(missing), pa.scalar([""], column.type), column)
        flat = filled.flatten()
        lengths = pc.list_value_length(filled).to_numpy(zero_copy_only=False).astype(np.int64)
        owner = np.repeat(np.arange(len(column)), lengths)
        buckets = _bucket(self._hash(flat, feature, owner), self.layout.owner(feature).buckets)
        rows = np.where(missing[owner], MISSING, buckets) + self.layout.first_row(feature)
        offsets = np.cumsum(lengths) - lengths
        return Bag(torch.from_numpy(rows), torch.from_numpy(offsets), self.layout.width(feature))

    def _numbers(self, group: Group, count: int, column: ColumnOf, observe: bool) -> Tensor:
        features = self.layout.numbers(group)
        values = np.empty((count, len(features)))
        for place, feature in enumerate(features):
            values[:, place] = _transformed(column(feature), feature)
        standardiser = self._standardisers[group]
        scaled = standardiser.standardise(values)
        if observe:
            standardiser.observe(values)
        return torch.from_numpy(np.concatenate([scaled, np.isnan(values).astype(np.float32)], axis=1))


def _bucket(hashed: NDArray[np.uint64], buckets: int) -> NDArray[np.int64]:
    """Rows inside a feature's range: 1 to `buckets`."""
    return (hashed % np.uint64(buckets)).astype(np.int64) + 1


def _is_null(column: pa.Array) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = column.is_null().to_numpy(zero_copy_only=False)
    return mask


def _transformed(column: pa.Array, feature: NumberFeature) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.to_numpy(zero_copy_only=False).astype(np.float64)
    values = values.clip(-LARGEST, LARGEST)
    if feature.transform == "log1p":
        return np.sign(values) * np.log1p(np.abs(values))
    return values
