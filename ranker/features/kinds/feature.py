"""What every kind of feature says: the part of a spec, and all that follows from the kind.

Shape letters: R rows of a group, K keys of a row, N numbers of a feature.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ranker.events import QUERY_PREFIX
from ranker.features.sides import SIDES, Group, Side
from ranker.labels.label import Label
from ranker.spec_model import Name, SpecModel, refuse_doubles

if TYPE_CHECKING:
    from ranker.features.batch import AttendedHistory, Bag
    from ranker.features.kinds.rows import Rows
    from ranker.features.record import RecordLayout, Words
    from ranker.features.state.tracker import Tracker

Features = Mapping[str, "Feature"]
"""All features of a spec, by name."""


class Form(Enum):
    """How a column's values are kept in a record."""

    KEY = "key"
    """One word: the hash of a string."""
    NUMBER = "number"
    """One word: the bits of a float64."""
    BAG = "bag"
    """The length of a list, then the hashes of its first items."""


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


class ColumnFeature(Feature):
    """A feature with a column of its own.

    Attributes:
        form: How its values are kept in a record.
        expected: The values that its column may hold, in the words of an error message.
        is_key: Whether rates and ages may be of it, and crosses if it has one value a row.
        value_keys: Keys that decide which keys a record has of it.
    """

    form: ClassVar[Form]
    expected: ClassVar[str]
    is_key: ClassVar[bool] = False
    value_keys: ClassVar[frozenset[str]] = frozenset({"kind", "column"})

    name: Name = Field(description="Unique name; the column of the records unless `column` is given.")
    side: Side = Field(
        description="user, query and context are the same for every candidate of a request; candidate "
        "belongs to the video alone; pair needs both; bias feeds the position tower only."
    )
    column: Name | None = Field(None, description="The records' column, if it is not the name.")

    @property
    def source_column(self) -> str:
        """The records' column that holds the feature."""
        return self.column or self.name

    @property
    def words(self) -> int:
        """Words of 64 bits that its value takes in a record."""
        return 1

    @property
    def record_form(self) -> str:
        """Names the words: two features of one column and one such name read the same."""
        return self.form.value

    @property
    def max_keys(self) -> int:
        """Keys that a row may have, K; 1 for a single value."""
        return 1

    def key_word(self, records: "RecordLayout") -> int | None:
        """The first of the words that are the keys themselves; None if keys have to be computed."""
        return records.first_word(self)

    def keys(self, words: "Words", records: "RecordLayout") -> "Words":
        """The keys of rows, by which others count.

        Args:
            words: (R, W).
            records: Where the columns stand in the words.

        Returns:
            (R, K), MISSING_KEY where missing.
        """
        first = self.key_word(records)
        assert first is not None
        return words[:, first : first + self.max_keys]

    def check(self, features: Features, labels: Collection[str]) -> None:
        """See `Feature`."""
        if self.side is Side.QUERY and not self.source_column.startswith(QUERY_PREFIX):
            raise ValueError(
                f"feature '{self.name}': side query expects a column '{QUERY_PREFIX}...', "
                f"found '{self.source_column}'"
            )
        if self.side is Side.BIAS:
            self.check_bias()

    def check_bias(self) -> None:
        """Check that the position tower can read the feature.

        Raises:
            ValueError: It cannot.
        """
        raise ValueError(f"feature '{self.name}': side bias expects kind category, found {self.kind}")

    def columns(self, features: Features) -> tuple["ColumnFeature", ...]:
        """Itself."""
        return (self,)

    def group(self, features: Features) -> Group | None:
        """That of its side; None for side bias."""
        return next((group for group, sides in SIDES.items() if self.side in sides), None)


class StateFeature(Feature):
    """A feature that learns from the stream, or changes with time.

    Attributes:
        reading_keys: Keys that say how the state is read, and not what it holds.
    """

    reading_keys: ClassVar[frozenset[str]] = frozenset()

    name: Name = Field(description="Unique name.")

    @property
    def counted_labels(self) -> tuple[str, ...]:
        """Names of the labels that it learns from."""
        return ()

    @property
    def prior_feature(self) -> str | None:
        """The other feature of the state that it is drawn towards, which is read first."""
        return None

    @abstractmethod
    def tracker(
        self, features: Features, labels: Sequence[Label], trackers: "Mapping[str, Tracker]"
    ) -> "Tracker | None":
        """What follows the stream for this feature.

        Args:
            features: All of the spec's.
            labels: All of the spec's, in the order of the state's columns.
            trackers: By name, those of features that were made before: a prior feature's is among them.

        Returns:
            None if there is nothing to learn.
        """

    def current_numbers(
        self, words: "Words", records: "RecordLayout", times: NDArray[np.int64], features: Features
    ) -> NDArray[np.float64]:
        """(R, N) the numbers of a feature without a tracker.

        Args:
            words: (R, W).
            records: Where the columns stand in the words.
            times: (R,) when the requests are made, in milliseconds.
            features: All of the spec's.
        """
        raise NotImplementedError(f"{self.kind} has no numbers without a tracker")

    def group(self, features: Features) -> Group:
        """The request's rows if it is made of them alone; else those of the pairs.

        What is known of a candidate changes with time, so it belongs to the pair with the request.
        """
        groups = {column.group(features) for column in self.columns(features)}
        return Group.REQUEST if groups == {Group.REQUEST} else Group.PAIR


def made_of(name: str, features: Features) -> ColumnFeature:
    """A feature that others are made of, which has a column of its own (as `check` has seen)."""
    found = features[name]
    assert isinstance(found, ColumnFeature)
    return found


def check_parts(
    feature: Feature,
    what: str,
    accepts: Callable[[ColumnFeature], bool],
    features: Features,
    of: Sequence[str],
) -> None:
    """Check that a feature is made of features that there are, each once, and of the right kinds.

    Args:
        feature: The feature.
        what: How the message names what is made, and of what.
        accepts: Whether it may be made of another feature.
        features: All of the spec's.
        of: Names of the parts.

    Raises:
        ValueError: A part is there twice, or is not accepted.
    """
    refuse_doubles(list(of), f"parts of '{feature.name}'")
    columns = [f for f in features.values() if isinstance(f, ColumnFeature) and f.side is not Side.BIAS]
    usable = [f.name for f in columns if accepts(f)]
    for part in of:
        if part not in usable:
            raise ValueError(f"feature '{feature.name}': {what} ({', '.join(usable)}), found '{part}'")


def check_labels(feature: StateFeature, labels: Collection[str]) -> None:
    """Check that a feature counts labels that there are, each once.

    Raises:
        ValueError: It does not.
    """
    refuse_doubles(list(feature.counted_labels), f"labels of '{feature.name}'")
    for label in feature.counted_labels:
        if label not in labels:
            raise ValueError(
                f"feature '{feature.name}': expected a task or label ({', '.join(labels)}), found '{label}'"
            )
