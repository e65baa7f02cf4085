"""Seconds since something was.

Shape letters: R rows, W words of a record.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ranker.features.kinds.column import ColumnFeature
from ranker.features.kinds.feature import Features, Input, Number
from ranker.features.kinds.key import KeyCapacity, check_key
from ranker.features.kinds.learned import StateFeature
from ranker.features.kinds.number import NumberFeature
from ranker.features.kinds.parts import check_parts, made_of
from ranker.features.record import RecordLayout, Words
from ranker.features.state.recency import RecencyTracker
from ranker.features.state.row_keys import RowKeys
from ranker.features.state.tracker import Tracker
from ranker.labels.label import Label
from ranker.spec_model import Name


class AgeFeature(StateFeature):
    """Seconds since something was: since a key was last shown, or since a time that the records hold.

    The network gets log(1 + seconds), and an indicator where it never was.
    """

    kind: Literal["age"]
    of: tuple[Name, ...] = Field(
        (),
        description="The key, as of a rate: since the viewer was shown anything, or anything of this author.",
    )
    since: Name | None = Field(
        None,
        description="Instead of a key, a feature of kind number that holds a time in epoch milliseconds.",
    )
    capacity: KeyCapacity = 1_000_000

    @property
    def input(self) -> Input:
        """A number and its indicator."""
        return Input.NUMBERS

    @property
    def parts(self) -> tuple[str, ...]:
        """The key, or the time."""
        return self.of if self.since is None else (self.since,)

    def check(self, features: Features, labels: Collection[str]) -> None:
        """See `Feature`."""
        if self.since is None:
            check_key(self, self.of, features)
        else:
            check_parts(self, "since expects features of kind number", _is_number, features, self.parts)

    def columns(self, features: Features) -> tuple[ColumnFeature, ...]:
        """The key's, or the time."""
        return tuple(made_of(name, features) for name in self.parts)

    def numbers(self, labels: Sequence[Label]) -> tuple[Number, ...]:
        """The seconds."""
        return (Number("log1p", may_be_missing=True),)

    def tracker(
        self, features: Features, labels: Sequence[Label], trackers: Mapping[str, Tracker]
    ) -> RecencyTracker | None:
        """When each key was last shown; None for the age of a time that the records hold."""
        if self.since is not None:
            return None
        return RecencyTracker(self.name, RowKeys(self.columns(features)), capacity=self.capacity)

    def current_numbers(
        self, words: Words, records: RecordLayout, times: NDArray[np.int64], features: Features
    ) -> NDArray[np.float64]:
        """(R, 1) seconds since the time that the records hold, as many as float32 has."""
        (column,) = self.columns(features)
        seconds = (times - words[:, records.first_word(column)].view(np.float64)) / 1000
        return seconds.clip(0, np.finfo(np.float32).max)[:, None]

    @model_validator(mode="after")
    def _of_or_since(self) -> Self:
        if bool(self.of) == (self.since is not None):
            raise ValueError(f"feature '{self.name}': an age expects either 'of' or 'since'")
        return self


def _is_number(feature: ColumnFeature) -> bool:
    return isinstance(feature, NumberFeature)
