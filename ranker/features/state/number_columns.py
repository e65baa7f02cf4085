"""Where the numbers of a group's features of the state stand.

Shape letters: R rows, N numbers of a group.
"""

from collections.abc import Sequence

import numpy as np

from ranker.features.kinds.learned import StateFeature
from ranker.features.state.reading import Floats, NumberBlock
from ranker.labels.label import Label


class NumberColumns:
    """The columns of a group's numbers, feature after feature.

    Logarithms are taken of all columns at once, which is several times faster than feature by feature.

    Args:
        features: Of the group, those of the state.
        labels: All of the spec's.
    """

    def __init__(self, features: Sequence[StateFeature], labels: Sequence[Label]) -> None:
        self._first: dict[str, int] = {}
        logged: list[bool] = []
        for feature in features:
            numbers = feature.numbers(labels)
            if numbers:
                self._first[feature.name] = len(logged)
            logged += [number.transform == "log" for number in numbers]
        self._count = len(logged)
        self._as_they_are = np.flatnonzero(~np.array(logged, bool))

    def blocks(self, rows: int) -> dict[str, NumberBlock]:
        """Room for the numbers of so many rows, by the feature's name."""
        numbers, each = np.empty((rows, self._count), np.float32), np.arange(rows)
        return {name: NumberBlock(numbers, first, each) for name, first in self._first.items()}

    def logged(self, blocks: dict[str, NumberBlock], rows: int) -> Floats:
        """The numbers, (R, N), as the network takes them, once all blocks are written; it overwrites them."""
        numbers = next((blocks[name].numbers for name in self._first), np.empty((rows, 0), np.float32))
        others = numbers[:, self._as_they_are]
        with np.errstate(divide="ignore", invalid="ignore"):  # of what is no odds, and put back
            np.log(numbers, out=numbers)
        numbers[:, self._as_they_are] = others
        return numbers
