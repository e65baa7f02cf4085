"""The keys of rows: what features of the state are counted by.

Shape letters: R rows, W words of a record, K keys of a row.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ranker.features.hashing import combine_keys
from ranker.features.kinds.columns import BinFeature, IdsFeature
from ranker.features.layout import KeyPart
from ranker.features.record import RecordLayout, Words


class RowKeys:
    """Reads the keys that a combination of features has in each row.

    Args:
        parts: The features; of a list, each item makes a key.
    """

    def __init__(self, parts: Sequence[KeyPart]) -> None:
        self._parts = parts
        widths = [part.max_items if isinstance(part, IdsFeature) else 1 for part in parts]
        self._width = max(widths)
        self._steps = np.array([int(width > 1) for width in widths])
        self._side_by_side = np.cumsum([0, *widths[:-1]])
        self._binned = any(isinstance(part, BinFeature) for part in parts)
        self._places: dict[RecordLayout, NDArray[np.int64]] = {}

    def __call__(self, words: Words, records: RecordLayout) -> Words:
        """Read rows.

        Args:
            words: (R, W).
            records: Where the features' columns stand in the words.

        Returns:
            (R, K), MISSING_KEY where any part is missing.
        """
        if len(self._parts) == 1:
            return np.ascontiguousarray(part_keys(self._parts[0], words, records))
        keys = np.empty((len(words), self._width), np.uint64)
        if self._binned:
            values = np.concatenate([part_keys(part, words, records) for part in self._parts], axis=1)
            combine_keys(values, self._side_by_side, self._steps, keys)
        else:
            combine_keys(words, self._places_in(records), self._steps, keys)
        return keys

    def _places_in(self, records: RecordLayout) -> NDArray[np.int64]:
        if records not in self._places:
            firsts = [records.place(part) + isinstance(part, IdsFeature) for part in self._parts]
            self._places[records] = np.array(firsts)
        return self._places[records]


def bins(feature: BinFeature, words: Words, records: RecordLayout) -> NDArray[np.int64]:
    """(R,) which range a number falls into, from 1 on; 0 where it is missing."""
    numbers = words[:, records.place(feature)].view(np.float64)
    places = np.searchsorted(np.array(feature.edges), numbers, side="right") + 1
    return np.where(np.isnan(numbers), 0, places)


def part_keys(part: KeyPart, words: Words, records: RecordLayout) -> Words:
    """(R, K) the keys of one feature: one, or those of a list's items."""
    place = records.place(part)
    if isinstance(part, IdsFeature):
        return words[:, place + 1 : place + 1 + part.max_items]
    if isinstance(part, BinFeature):
        keys = np.empty((len(words), 1), np.uint64)
        ranges = bins(part, words, records).astype(np.uint64)
        combine_keys(ranges[:, None], np.zeros(1, np.int64), np.zeros(1, np.int64), keys)
        return keys
    return words[:, place : place + 1]
