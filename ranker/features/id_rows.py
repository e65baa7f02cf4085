"""Rows of the tables for ids, lists of ids and crosses: hashed into buckets, or of their own.

Shape letters: R rows, W words of a record.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranker.features.forgetting import keys_of
from ranker.features.id_table import IdTable
from ranker.features.key_loops import Times
from ranker.features.key_table import Arrays
from ranker.features.kinds.column import ColumnFeature
from ranker.features.kinds.feature import Feature
from ranker.features.kinds.hashed import HashedFeature
from ranker.features.layout import Layout
from ranker.features.record import MISSING_KEY, RecordLayout, Words
from ranker.features.vocabularies import MISSING

FreshRows = dict[int, Tensor]
"""For each embedding width, rows of the fused table."""


class IdRows:
    """Looks up the rows of all ids of a spec, and gives them out where ids have rows of their own.

    Args:
        layout: Names the features, and says who shares whose table.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._seen_in: dict[str, list[ColumnFeature]] = {}
        self._tables: dict[str, IdTable] = {}
        self._owners: dict[str, HashedFeature] = {}
        for feature in layout.by_name.values():
            owner = feature.owner(layout.by_name)
            if not isinstance(owner, HashedFeature):
                continue
            self._owners[feature.name] = owner
            table = owner.id_table()
            if table is not None and isinstance(feature, ColumnFeature):
                self._seen_in.setdefault(owner.name, []).append(feature)
                self._tables.setdefault(owner.name, table)

    @property
    def learns(self) -> bool:
        """Whether any id has a row of its own, so that there is something to observe."""
        return bool(self._tables)

    def rows(self, feature: Feature, keys: Words) -> NDArray[np.int64]:
        """Look hashed values up.

        Args:
            feature: Whose values they are.
            keys: In any shape, MISSING_KEY where missing.

        Returns:
            As many rows inside the range of the feature's table: MISSING, or 1 and above.
        """
        owner = self._owners[feature.name]
        if owner.name in self._tables:
            return self._tables[owner.name].rows(keys)
        buckets = (keys % np.uint64(owner.buckets)).astype(np.int64)
        return np.where(keys == MISSING_KEY, MISSING, buckets + 1)

    def observe(self, words: Words, records: RecordLayout, times: Times) -> FreshRows:
        """Count the sightings of ids, in whichever column they are, and give out rows.

        Args:
            words: (R, W) with all columns.
            records: Where the columns stand in them.
            times: (R,) int64 milliseconds, in order.

        Returns:
            The rows that were given to new ids. They are used from the next batch on, and hold the embedding
            of another id until then.
        """
        fresh: dict[int, list[NDArray[np.int64]]] = {}
        for name, table in self._tables.items():
            features = self._seen_in[name]
            keys = np.concatenate([feature.keys(words, records) for feature in features], axis=1)
            given = table.observe(keys, times) + self._layout.first_row(features[0])
            fresh.setdefault(self._layout.width(features[0]), []).append(given)
        return {width: torch.from_numpy(np.concatenate(rows)) for width, rows in fresh.items()}

    def forget(self, words: Words, without: Words, records: RecordLayout) -> None:
        """Take their rows from the ids by which two sets of rows differ; see `FeatureState.forget`."""
        for name, table in self._tables.items():
            for feature in self._seen_in[name]:
                keys, rest = feature.keys(words, records), feature.keys(without, records)
                table.forget(keys_of(keys, rest))

    def state(self) -> Arrays:
        """Everything, as named arrays of int64, for a checkpoint or a bundle."""
        return {f"{name}/{n}": a for name, table in self._tables.items() for n, a in table.state().items()}

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a saved state."""
        for name, table in self._tables.items():
            prefix = f"{name}/"
            own = {n.removeprefix(prefix): a for n, a in state.items() if n.startswith(prefix)}
            table.load(own)
