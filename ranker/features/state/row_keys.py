"""The keys of rows: what features of the state are counted by.

Shape letters: R rows, W words of a record, K keys of a row.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ranker.feature_spec import BinFeature, IdsFeature
from ranker.features.hashing import combine_keys
from ranker.features.layout import KeyPart
from ranker.features.record import RecordLayout, Words


def row_keys(parts: Sequence[KeyPart], words: Words, records: RecordLayout) -> Words:
    """The keys that a combination of features has in each row.

    Args:
        parts: The features; of a list, each item makes a key.
        words: (R, W).
        records: Where their columns stand in the words.

    Returns:
        (R, K), MISSING_KEY where any part is missing.
    """
    if len(parts) == 1:
        return np.ascontiguousarray(part_keys(parts[0], words, records))
    widths = np.array([part.most if isinstance(part, IdsFeature) else 1 for part in parts])
    if any(isinstance(part, BinFeature) for part in parts):
        words = np.concatenate([part_keys(part, words, records) for part in parts], axis=1)
        places = widths.cumsum() - widths
    else:
        places = np.array([records.place(part) + isinstance(part, IdsFeature) for part in parts])
    keys = np.empty((len(words), widths.max()), np.uint64)
    combine_keys(words, places, (widths > 1).astype(np.int64), keys)
    return keys


def bins(feature: BinFeature, words: Words, records: RecordLayout) -> NDArray[np.int64]:
    """(R,) which range a number falls into, from 1 on; 0 where it is missing."""
    numbers = words[:, records.place(feature)].view(np.float64)
    places = np.searchsorted(np.array(feature.edges), numbers, side="right") + 1
    return np.where(np.isnan(numbers), 0, places)


def part_keys(part: KeyPart, words: Words, records: RecordLayout) -> Words:
    """(R, K) the keys of one feature: one, or those of a list's items."""
    place = records.place(part)
    if isinstance(part, IdsFeature):
        return words[:, place + 1 : place + 1 + part.most]
    if isinstance(part, BinFeature):
        keys = np.empty((len(words), 1), np.uint64)
        ranges = bins(part, words, records).astype(np.uint64)
        combine_keys(ranges[:, None], np.zeros(1, np.int64), np.zeros(1, np.int64), keys)
        return keys
    return words[:, place : place + 1]
