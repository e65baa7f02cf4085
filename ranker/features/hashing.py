"""A stable, seeded 64-bit hash of strings, vectorised over an Arrow column.

The bytes of a value are read as little-endian 64-bit words, padded with zeros; each word is folded into the
state with the finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014, https://doi.org/10.1145/2660193.2660195).
The same value has the same hash on every machine and in every version: bundles depend on it.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranker.compiled import compiled

MAX_BYTES: Final = 1024
"""Longest id, in bytes of UTF-8."""

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_NO_VALUE: Final = np.uint64(0)


def hash_strings(column: pa.StringArray, *, seed: int) -> NDArray[np.uint64]:
    """Hash every value of a column.

    Args:
        column: Strings of at most MAX_BYTES; the hash of a null is of no meaning.
        seed: Another seed gives another, independent hash.

    Returns:
        (len(column),) uint64.
    """
    count = len(column)
    _, offset_buffer, data_buffer = column.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int32)[column.offset : column.offset + count + 1]
    data = np.frombuffer(data_buffer or b"", dtype=np.uint8)
    lengths = np.diff(offsets)
    longest = int(lengths.max(initial=0))
    assert longest <= MAX_BYTES, longest
    padded = -(-longest // 8) * 8
    index = np.arange(padded)
    inside = index < lengths[:, None]
    gathered = (
        data.take(offsets[:-1, None] + index, mode="clip") if len(data) else np.zeros_like(inside, np.uint8)
    )
    words = np.where(inside, gathered, np.uint8(0)).view("<u8")

    state = lengths.astype(np.uint64) * _GOLDEN + _finalise(np.full(count, seed, np.uint64))
    for word in range(words.shape[1]):
        folded = _finalise(state ^ words[:, word])
        state = np.where(lengths > 8 * word, folded, state)
    return _finalise(state)


def combine(hashes: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """One hash of several values side by side; their order counts.

    Args:
        hashes: For each value, (R,) uint64.

    Returns:
        (R,) uint64.
    """
    state = np.zeros_like(hashes[0])
    for hashed in hashes:
        state = _finalise(state ^ hashed)
    return state


@compiled
def combine_keys(
    words: NDArray[np.uint64],
    first_words: NDArray[np.int64],
    steps: NDArray[np.int64],
    keys: NDArray[np.uint64],
) -> None:
    """Hash the values of combinations, as `combine` does.

    Args:
        words: (R, W) the rows' values, 0 where missing.
        first_words: (P,) where the first value of each part of a combination stands.
        steps: (P,) 1 for a part with another value in each of K combinations, 0 for one of a single value.
        keys: (R, K) uint64 to write to, 0 where any part is missing.
    """
    for row in range(keys.shape[0]):
        for item in range(keys.shape[1]):
            mixed = _NO_VALUE
            for part in range(len(first_words)):
                value = words[row, first_words[part] + steps[part] * item]
                if value == _NO_VALUE:
                    mixed = _NO_VALUE
                    break
                mixed = (mixed ^ value) + _GOLDEN
                mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
                mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
                mixed ^= mixed >> np.uint64(31)
            keys[row, item] = mixed


def _finalise(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = value + _GOLDEN
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))
