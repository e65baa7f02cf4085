"""The values of categories, each with an index in the order in which they were met.

Shape letters: R rows, K categories (features), V values of all of them.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ranker.features.hashing import combine, hash_strings
from ranker.features.kinds.category import CategoryFeature
from ranker.features.record import MISSING_KEY, Words

MISSING, OTHER, FIRST_VALUE = 0, 1, 2
TextOf = Callable[[CategoryFeature], pa.Array]

_NO_VALUE: Final = np.uint64(2**64 - 1)


class Vocabularies:
    """Looks up the values of all categories of a spec at once.

    Args:
        features: The categories; those without given values learn theirs.
        seed: Of the hash.
    """

    def __init__(self, features: Sequence[CategoryFeature], *, seed: int) -> None:
        self._features = {feature.name: feature for feature in features}
        self._feature_index = {name: index for index, name in enumerate(self._features)}
        self._seed = seed
        self._values = {f.name: [str(value) for value in f.values or ()] for f in features}
        self._index()

    def categories(self, names: Sequence[str], keys: Words) -> NDArray[np.int64]:
        """Look up hashed values.

        Args:
            names: K features.
            keys: (R, K) their values' hashes, MISSING_KEY where missing.

        Returns:
            (R, K): MISSING, OTHER, or FIRST_VALUE + the value's index.
        """
        feature_index = np.array([self._feature_index[name] for name in names], np.uint64)
        salted = _salted(keys, feature_index)
        found = np.searchsorted(self._salted, salted)
        rows = np.where(self._salted[found] == salted, self._category[found], OTHER)
        return np.where(keys == MISSING_KEY, MISSING, rows)

    def observe(self, names: Sequence[str], categories: NDArray[np.int64], text: TextOf) -> None:
        """Learn the values that were looked up in vain, in the order in which they appear.

        Args:
            names: K features.
            categories: (R, K) what `categories` returned for them.
            text: Gives a feature's values as strings.
        """
        grown = False
        for column in np.flatnonzero((categories == OTHER).any(axis=0)).tolist():
            feature = self._features[names[column]]
            known = self._values[feature.name]
            if feature.values is None and len(known) < feature.capacity:
                fresh = pc.unique(text(feature).filter(pa.array(categories[:, column] == OTHER)))
                known.extend(fresh.to_pylist()[: feature.capacity - len(known)])
                grown = True
        if grown:
            self._index()

    def state(self) -> dict[str, list[str]]:
        """The values of every feature."""
        return {name: list(values) for name, values in self._values.items()}

    def load(self, state: dict[str, list[str]]) -> None:
        """Go on from a saved state."""
        self._values = {name: list(values) for name, values in state.items()}
        self._index()

    def _index(self) -> None:
        """Sort the hashes of all values, each salted by its feature, with a last one that nothing equals."""
        strings = [value for name in self._feature_index for value in self._values[name]]
        sizes = [len(self._values[name]) for name in self._feature_index]
        keys = hash_strings(pa.array(strings, pa.string()), seed=self._seed)
        salted = _salted(keys, np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes))
        category = np.concatenate([np.arange(size) for size in sizes] or [np.arange(0)]) + FIRST_VALUE
        order = np.argsort(salted, kind="stable")
        self._salted = np.append(salted[order], _NO_VALUE)
        self._category = np.append(category[order], OTHER)


def _salted(keys: Words, feature_index: Words) -> Words:
    return combine([np.broadcast_to(feature_index, keys.shape), keys])
