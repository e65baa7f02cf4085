"""What every kind of feature says: the part of a spec, and all that follows from the kind.

Shape letters: R rows of a group, N numbers of a feature.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ranker.features.sides import Group
from ranker.labels.label import Label
from ranker.spec_model import Name, SpecModel

if TYPE_CHECKING:
    from ranker.features.batch import AttendedHistory, Bag
    from ranker.features.kinds.column import ColumnFeature
    from ranker.features.kinds.rows import Rows

Features = Mapping[str, "Feature"]
"""All features of a spec, by name."""


class Input(Enum):
    """What a feature gives the network for a row."""

    EMBEDDING = "embedding"
    """One row of a table."""
    BAG = "bag"
    """The mean of some rows of a table."""
    ATTENDED = "attended"
    """Some rows of a table, weighted by how the candidate attends to each."""
    NUMBERS = "numbers"
    """Numbers, standardised, and for those that may be missing an indicator."""


@dataclass(frozen=True)
class Number:
    """One number of a feature.

    Attributes:
        transform: What is taken of it before it is standardised. `log` is taken in float32 as the state is
            read, log1p(x) = sign(x) log(1 + |x|) in float64.
        may_be_missing: Whether it may be NaN, and has an indicator.
    """

    transform: Literal["identity", "log", "log1p"]
    may_be_missing: bool


class Feature(SpecModel, ABC):
    """A feature of a ranker.

    A kind implements what its `input` needs: `embedding`, `bag`, `attended`, or `numbers` with
    `number_values` (a feature of the state: with `tracker` or `current_numbers`).
    """

    kind: str
    name: Name

    @property
    @abstractmethod
    def input(self) -> Input:
        """What the network is given."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the features that it is made of; none for a column of its own."""
        return ()

    @abstractmethod
    def check(self, features: Features, labels: Collection[str]) -> None:
        """Check that the feature fits the others.

        Args:
            features: All of the spec's.
            labels: Names of the spec's tasks and other labels.

        Raises:
            ValueError: It does not; pydantic makes a `SpecError` of it.
        """

    @abstractmethod
    def columns(self, features: Features) -> tuple["ColumnFeature", ...]:
        """The features whose columns it is encoded from."""

    @abstractmethod
    def group(self, features: Features) -> Group | None:
        """Which rows it has; None if it is no input of the network."""

    def embedding_width(self, features: Features) -> int:
        """Width of its embedding, which names its table; 0 for numbers."""
        return 0

    def owner(self, features: Features) -> "Feature":
        """The feature whose rows of the table it uses."""
        return self

    @property
    def table_rows(self) -> int:
        """Rows of the table that are its own; row 0 is that of a missing value."""
        return 0

    def embedding(self, rows: "Rows") -> NDArray[np.int64]:
        """(R,) which of the owner's rows of the table each row of the group has."""
        raise NotImplementedError(f"{self.kind} gives no embedding")

    def bag(self, rows: "Rows") -> "Bag":
        """The rows of the fused table whose mean each row of the group has."""
        raise NotImplementedError(f"{self.kind} gives no bag")

    def attended(self, rows: "Rows") -> "AttendedHistory":
        """The rows of the fused table that each row of the group attends to."""
        raise NotImplementedError(f"{self.kind} gives nothing to attend to")

    @property
    def attended_rows(self) -> int:
        """How many rows of the table each row of the group attends to at most."""
        return 0

    def numbers(self, labels: Sequence[Label]) -> tuple[Number, ...]:
        """The N numbers that the network is given.

        Args:
            labels: All of the spec's.
        """
        return ()

    def number_values(self, rows: "Rows") -> NDArray[np.float64]:
        """(R, N) the numbers of a feature that does not learn from the stream, NaN where missing."""
        raise NotImplementedError(f"{self.kind} gives no numbers")

    @property
    def unsaid_keys(self) -> frozenset[str]:
        """Keys that a written spec leaves out."""
        return frozenset()
