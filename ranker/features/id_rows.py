"""Rows of the tables for ids, lists of ids and crosses: hashed into buckets, or of their own.

Shape letters: R rows, W words of a record.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranker.features.id_table import IdTable
from ranker.features.key_loops import Times
from ranker.features.kinds.columns import CrossFeature, IdFeature, TableFeature
from ranker.features.layout import Layout
from ranker.features.record import MISSING_KEY, RecordLayout, Words
from ranker.features.state.row_keys import part_keys
from ranker.features.state.tracker import Arrays
from ranker.features.vocabularies import MISSING
from ranker.spec import RankerSpec


class IdRows:
    """Looks up the rows of all ids of a spec, and gives them out where ids have rows of their own.

    Args:
        spec: Names the features.
        layout: Says who shares whose table.

    Attributes:
        fresh: For each embedding width, the rows of the fused table that the last observed batch gave to new
            ids. They are used from the next batch on, and hold the embedding of another id until then.
    """

    def __init__(self, spec: RankerSpec, layout: Layout) -> None:
        self._layout = layout
        self._seen_in: dict[str, list[TableFeature]] = {}
        self._tables: dict[str, IdTable] = {}
        for feature in spec.features:
            owner = layout.owner(feature) if isinstance(feature, TableFeature) else None
            if isinstance(feature, TableFeature) and isinstance(owner, IdFeature) and owner.capacity:
                self._seen_in.setdefault(owner.name, []).append(feature)
                self._tables.setdefault(owner.name, IdTable(owner))
        self.fresh: dict[int, Tensor] = {}

    @property
    def learns(self) -> bool:
        """Whether any id has a row of its own, so that there is something to observe."""
        return bool(self._tables)

    def rows(self, feature: TableFeature | CrossFeature, keys: Words) -> NDArray[np.int64]:
        """Look hashed values up.

        Args:
            feature: Whose values they are.
            keys: In any shape, MISSING_KEY where missing.

        Returns:
            As many rows inside the range of the feature's table: MISSING, or 1 and above.
        """
        owner = self._layout.owner(feature) if isinstance(feature, TableFeature) else feature
        if owner.name in self._tables:
            return self._tables[owner.name].rows(keys)
        buckets = (keys % np.uint64(owner.buckets)).astype(np.int64)
        return np.where(keys == MISSING_KEY, MISSING, buckets + 1)

    def observe(self, words: Words, records: RecordLayout, times: Times) -> None:
        """Count the sightings of ids, in whichever column they are, and give out rows.

        Args:
            words: (R, W) with all columns.
            records: Where the columns stand in them.
            times: (R,) int64 milliseconds, in order.
        """
        fresh: dict[int, list[NDArray[np.int64]]] = {}
        for name, table in self._tables.items():
            features = self._seen_in[name]
            keys = np.concatenate([part_keys(f, words, records) for f in features], axis=1)
            given = table.observe(keys, times) + self._layout.first_row(features[0])
            fresh.setdefault(self._layout.width(features[0]), []).append(given)
        self.fresh = {width: torch.from_numpy(np.concatenate(rows)) for width, rows in fresh.items()}

    def state(self) -> Arrays:
        """Everything, as named arrays of int64, for a checkpoint or a bundle."""
        return {f"{name}/{n}": a for name, table in self._tables.items() for n, a in table.state().items()}

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a saved state."""
        for name, table in self._tables.items():
            prefix = f"{name}/"
            table.load({n.removeprefix(prefix): a for n, a in state.items() if n.startswith(prefix)})
        self.fresh = {}
