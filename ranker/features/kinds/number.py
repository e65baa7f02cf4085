"""A number, such as a video's length or the count of its views.

Shape letter: R rows.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ranker.features.kinds.column import ColumnFeature, Form
from ranker.features.kinds.feature import Input, Number
from ranker.features.kinds.rows import Rows
from ranker.labels.label import Label


class NumberFeature(ColumnFeature):
    """A number, standardised with running statistics; an indicator says that it is missing."""

    form = Form.NUMBER
    expected = "a finite number"

    kind: Literal["number"]
    transform: Literal["identity", "log1p"] = Field(
        "identity", description="log1p for counts and durations, before standardising."
    )

    @property
    def input(self) -> Input:
        """A number and its indicator."""
        return Input.NUMBERS

    def numbers(self, labels: Sequence[Label]) -> tuple[Number, ...]:
        """Itself."""
        return (Number(self.transform, may_be_missing=True),)

    def number_values(self, rows: Rows) -> NDArray[np.float64]:
        """(R, 1) as the records hold it."""
        return rows.numbers(self)[:, None]
