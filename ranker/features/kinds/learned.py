"""Features that learn from the stream, or change with time.

Shape letters: R rows, W words of a record, N numbers of a feature.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ranker.features.kinds.feature import Feature, Features
from ranker.features.sides import Group
from ranker.labels.label import Label
from ranker.spec_model import Name

if TYPE_CHECKING:
    from ranker.features.record import RecordLayout, Words
    from ranker.features.state.tracker import Tracker


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

    @property
    def longest_half_life_s(self) -> float | None:
        """The time after which half of what it has learned is forgotten; None if it forgets nothing so."""
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
