"""What is read of the state for a group's rows, and where trackers write it.

Shape letters: R rows, D different ones of them, N numbers of a group, E entries of a history.
"""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ranker.features.kinds.learned import RateFeature
from ranker.features.layout import Group, Layout
from ranker.features.record import Words
from ranker.spec import RankerSpec

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


@dataclass(frozen=True)
class Place:
    """Where a feature's numbers stand.

    Attributes:
        numbers: (D, N) those of its group, of which some are still to be logged.
        first: The feature's first column.
        rows: (R,) which of the D rows each has.
    """

    numbers: Floats
    first: int
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Reading:
    """What trackers read of the same rows, written by each to its own place.

    Attributes:
        places: By the feature's name, of rates and ages.
        histories: By the feature's name.
    """

    places: dict[str, Place]
    histories: dict[str, History] = field(default_factory=dict)


class NumberColumns:
    """The columns of a group's numbers, feature after feature.

    Logarithms are taken of all columns at once, which is several times faster than feature by feature.

    Args:
        spec: Names the labels.
        layout: Of the spec.
        group: The group.
    """

    def __init__(self, spec: RankerSpec, layout: Layout, group: Group) -> None:
        regressions = {label.name for label in spec.feedback if label.kind != "binary"}
        self._first: dict[str, int] = {}
        logged: list[bool] = []
        for feature in layout.state_features(group):
            width = layout.state_numbers(feature)
            if width:
                self._first[feature.name] = len(logged)
            if isinstance(feature, RateFeature):
                of_half_life = [*(name not in regressions for name in feature.labels), True]
                logged += of_half_life * len(feature.half_lives)
            else:
                logged += [False] * width
        self._count = len(logged)
        self._as_they_are = np.flatnonzero(~np.array(logged, bool))

    def places(self, rows: int) -> dict[str, Place]:
        """Room for the numbers of so many rows."""
        numbers, each = np.empty((rows, self._count), np.float32), np.arange(rows)
        return {name: Place(numbers, first, each) for name, first in self._first.items()}

    def logged(self, places: dict[str, Place], rows: int) -> Floats:
        """The numbers, (R, N), once all are written, as the network takes them; the places are used up."""
        numbers = next((places[name].numbers for name in self._first), np.empty((rows, 0), np.float32))
        others = numbers[:, self._as_they_are]
        with np.errstate(divide="ignore", invalid="ignore"):  # of what is no odds, and put back
            np.log(numbers, out=numbers)
        numbers[:, self._as_they_are] = others
        return numbers
