"""The keys of rows: what features of the state are counted by.

Shape letters: R rows, W words of a record, K keys of a row.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ranker.features.hashing import combine_keys
from ranker.features.kinds.column import ColumnFeature
from ranker.features.record import RecordLayout, Words


class RowKeys:
    """Reads the keys that a combination of features has in each row.

    Args:
        parts: The features; of a list, each item makes a key.
    """

    def __init__(self, parts: Sequence[ColumnFeature]) -> None:
        self._parts = parts
        widths = [part.max_keys for part in parts]
        self._width = max(widths)
        self._steps = np.array([int(width > 1) for width in widths])
        self._side_by_side = np.cumsum([0, *widths[:-1]])
        self._found: dict[RecordLayout, NDArray[np.int64] | None] = {}

    def __call__(self, words: Words, records: RecordLayout) -> Words:
        """Read rows.

        Args:
            words: (R, W).
            records: Where the features' columns stand in the words.

        Returns:
            (R, K), MISSING_KEY where any part is missing.
        """
        if len(self._parts) == 1:
            return np.ascontiguousarray(self._parts[0].keys(words, records))
        keys = np.empty((len(words), self._width), np.uint64)
        key_words = self._key_words(records)
        if key_words is None:
            values = np.concatenate([part.keys(words, records) for part in self._parts], axis=1)
            combine_keys(values, self._side_by_side, self._steps, keys)
        else:
            combine_keys(words, key_words, self._steps, keys)
        return keys

    def _key_words(self, records: RecordLayout) -> NDArray[np.int64] | None:
        """Where the parts' keys begin in records; None if those of a part have to be computed."""
        if records not in self._found:
            firsts = [part.key_word(records) for part in self._parts]
            self._found[records] = None if None in firsts else np.array(firsts, np.int64)
        return self._found[records]
