"""What is read of the state for a group's rows, and where trackers write it.

Shape letters: R rows, D different ones of them, N numbers of a group, E entries of a history.
"""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ranker.features.record import Words

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class History:
    """Entries of a viewer's history for every row, the newest first.

    Attributes:
        values: (R, E) uint64 hashes, MISSING_KEY where there are fewer.
        ages_s: (R, E) float64 seconds before the request, NaN where there are fewer.
    """

    values: Words
    ages_s: NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """What the state knows for a group's rows.

    Attributes:
        numbers: (R, N) float32, feature after feature, NaN where missing: of a rate, for each half-life, the
            log-odds of each label, of regression labels the mean, then log(1 + count) of the rows with the
            first label; of an age, seconds.
        histories: By the feature's name.
    """

    numbers: Floats
    histories: dict[str, History]

    @classmethod
    def nothing(cls, rows: int) -> Self:
        """Of a spec without such features."""
        return cls(np.empty((rows, 0), np.float32), {})

    def rows(self, rows: slice) -> Self:
        """Some of the rows."""
        histories = {n: History(h.values[rows], h.ages_s[rows]) for n, h in self.histories.items()}
        return type(self)(self.numbers[rows], histories)


@dataclass(frozen=True)
class NumberBlock:
    """The columns that a feature's numbers are written to.

    Attributes:
        numbers: (D, N) all numbers of the group; the logarithms of some are taken once all are written.
        first: The feature's first column.
        rows: (R,) which of the D rows each row of the group has.
    """

    numbers: Floats
    first: int
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Reading:
    """What trackers read of the same rows.

    Attributes:
        numbers: By the feature's name, of features that give numbers.
        histories: By the feature's name.
    """

    numbers: dict[str, NumberBlock]
    histories: dict[str, History] = field(default_factory=dict)
