"""The viewer's last videos of one kind of feedback.

Shape letters: R rows, E entries of a history, H different histories.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator

from ranker.features.batch import AttendedHistory, Bag
from ranker.features.kinds.column import ColumnFeature
from ranker.features.kinds.feature import Features, Input
from ranker.features.kinds.hashed import SharedTableFeature
from ranker.features.kinds.id import VIEWER
from ranker.features.kinds.learned import StateFeature
from ranker.features.kinds.parts import check_labels, check_parts, made_of
from ranker.features.kinds.rows import Rows
from ranker.features.record import MISSING_KEY, Words
from ranker.features.sides import Side
from ranker.features.state.histories import Admission, HistoryTracker
from ranker.features.state.tracker import Tracker
from ranker.labels.label import Label
from ranker.spec_model import Name

AGE_RANGES: Final = 32
"""Ranges of a history's ages: below a second, below 3, below 7 and so on; the last from 68 years on."""


class HistoryFeature(StateFeature):
    """The viewer's last videos of one kind of feedback, newest first, with their ages.

    Their embeddings come from the table of `of`, the ages' from one of their own, in steps of powers of two.
    """

    reading_keys = frozenset({"pool"})

    kind: Literal["history"]
    of: Name = Field(
        description="What is remembered of a video: a feature of side candidate and kind id; or, for the "
        "mean, ids, of which each item is an entry."
    )
    label: Name | None = Field(None, description="The label that admits a video; without it, all shown.")
    above: float = Field(0.0, description="What the label must be greater than.")
    below: float | None = Field(None, description="In place of `above`: what the label must be less than.")
    length: PositiveInt = Field(20, le=256, description="Videos that are remembered.")
    pool: Literal["mean", "attention"] = Field(
        "mean", description="mean of the embeddings, or a sum weighted by how the candidate attends to each."
    )
    capacity: PositiveInt = Field(
        1_000_000, description="Viewers that are kept; the least recently active is forgotten first."
    )

    @property
    def input(self) -> Input:
        """As `pool` says."""
        return Input.BAG if self.pool == "mean" else Input.ATTENDED

    @property
    def parts(self) -> tuple[str, ...]:
        """What is remembered."""
        return (self.of,)

    @property
    def counted_labels(self) -> tuple[str, ...]:
        """The label that admits a video."""
        return () if self.label is None else (self.label,)

    def check(self, features: Features, labels: Collection[str]) -> None:
        """See `Feature`."""
        attends = self.input is Input.ATTENDED

        def accepts(feature: ColumnFeature) -> bool:
            table = isinstance(feature, SharedTableFeature) and feature.side is Side.CANDIDATE
            return table and (feature.input is Input.EMBEDDING or not attends)

        kinds = "id" if attends else "id or ids"
        check_parts(
            self, f"a history expects candidates' features of kind {kinds}", accepts, features, self.parts
        )
        check_labels(self, labels)

    def columns(self, features: Features) -> tuple[ColumnFeature, ...]:
        """The viewer; with attention also the candidate."""
        return (VIEWER, made_of(self.of, features)) if self.input is Input.ATTENDED else (VIEWER,)

    def embedding_width(self, features: Features) -> int:
        """That of what is remembered."""
        return features[self.of].embedding_width(features)

    @property
    def table_rows(self) -> int:
        """One a range of ages."""
        return AGE_RANGES

    @property
    def attended_rows(self) -> int:
        """With attention, one a video."""
        return self.length if self.input is Input.ATTENDED else 0

    def tracker(
        self, features: Features, labels: Sequence[Label], trackers: Mapping[str, Tracker]
    ) -> HistoryTracker:
        """The last videos of each viewer."""
        admission = None
        if self.label is not None:
            index = next(index for index, label in enumerate(labels) if label.name == self.label)
            bound = self.above if self.below is None else self.below
            admission = Admission(
                label=index,
                wait_s=labels[index].label_wait,
                bound=labels[index].learned(np.array([bound], np.float32))[0],
                below=self.below is not None,
            )
        return HistoryTracker(
            self.name,
            VIEWER,
            made_of(self.of, features),
            admission,
            capacity=self.capacity,
            length=self.length,
        )

    def bag(self, rows: Rows) -> Bag:
        """Rows of the entries and of their ages: the mean of both together."""
        history = rows.history(self.name)
        values = self._entries(rows, history.values)
        ages = age_ranges(history.ages_s) + rows.first_row(self)
        there = history.values != MISSING_KEY
        both = np.stack([values, ages], axis=2)[there].reshape(-1)
        counts = 2 * there.sum(axis=1)
        offsets = np.cumsum(counts) - counts
        return Bag(torch.from_numpy(both), torch.from_numpy(offsets), self.embedding_width(rows.features))

    def attended(self, rows: Rows) -> AttendedHistory:
        """Rows of the entries, of their ages and of the candidates, a request's history only once."""
        history, of = rows.history(self.name), made_of(self.of, rows.features)
        bits = np.concatenate([history.values, history.ages_s.view(np.uint64)], axis=1)  # NaN equals NaN
        same = (bits[1:] == bits[:-1]).all(axis=1)
        first = np.append(True, ~same)[: len(rows.words)]
        values, ages_s = history.values[first], history.ages_s[first]
        return AttendedHistory(
            torch.from_numpy(self._entries(rows, values)),
            torch.from_numpy(age_ranges(ages_s) + rows.first_row(self)),
            torch.from_numpy(values != MISSING_KEY),
            torch.from_numpy(np.cumsum(first) - 1),
            torch.from_numpy(self._entries(rows, rows.keys(of)[:, 0])),
            self.embedding_width(rows.features),
        )

    def _entries(self, rows: Rows, keys: Words) -> NDArray[np.int64]:
        """Rows of the fused table for values of what is remembered, in any shape."""
        of = rows.features[self.of]
        return rows.id_rows(of, keys) + rows.first_row(of)

    @model_validator(mode="after")
    def _one_bound_of_a_label(self) -> Self:
        if self.below is not None and self.above != 0:
            raise ValueError(f"feature '{self.name}': expected either 'above' or 'below', found both")
        if self.label is None and (self.below is not None or self.above != 0):
            raise ValueError(f"feature '{self.name}': 'above' and 'below' expect a 'label', found none")
        return self


def age_ranges(ages_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which range an age falls into: 0 below a second, then one for every doubling; 0 where it is NaN."""
    ranges = np.log2(1 + np.nan_to_num(ages_s)).astype(np.int64)
    return np.minimum(ranges, AGE_RANGES - 1)
