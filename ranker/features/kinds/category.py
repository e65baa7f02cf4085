"""One of a few values, such as a country or the hour of the day.

Shape letter: R rows.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, field_validator

from ranker.features.kinds.column import ColumnFeature, Form
from ranker.features.kinds.feature import Features, Input
from ranker.features.kinds.rows import Rows
from ranker.features.sides import Side
from ranker.spec_model import refuse_doubles


class CategoryFeature(ColumnFeature):
    """One of a few values, each with an embedding of its own; further values share the one of `other`."""

    form = Form.KEY
    expected = "a string, a number or true/false"
    is_key = True
    text_keys = frozenset({"values"})

    kind: Literal["category"]
    values: tuple[str | int, ...] | None = Field(
        None, description="The values. Without it, the first `capacity` values met in training."
    )
    capacity: PositiveInt = Field(64, description="Most values that are learned from the data.")
    dim: PositiveInt = Field(8, description="Width of the embedding.")

    @property
    def input(self) -> Input:
        """One embedding."""
        return Input.EMBEDDING

    @property
    def size(self) -> int:
        """How many embeddings it has: of a missing value, of others, and of the values."""
        return 2 + (self.capacity if self.values is None else len(self.values))

    def embedding_width(self, features: Features) -> int:
        """`dim`."""
        return self.dim

    @property
    def table_rows(self) -> int:
        """As many as embeddings; none if the position tower reads it."""
        return 0 if self.side is Side.BIAS else self.size

    def embedding(self, rows: Rows) -> NDArray[np.int64]:
        """(R,) the value's row."""
        return rows.categories(self)

    def check_bias(self) -> None:
        """See `ColumnFeature`: the position tower reads categories."""

    @field_validator("values", mode="before")
    @classmethod
    def _refuse_what_no_log_holds(cls, values: Any) -> Any:
        for value in values if isinstance(values, list | tuple) else ():
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise ValueError(
                    f"expected strings or whole numbers, found {value!r:.80}; "
                    "quote a string that YAML reads as something else"
                )
        return values

    @field_validator("values")
    @classmethod
    def _each_once(cls, values: tuple[str | int, ...] | None) -> tuple[str | int, ...] | None:
        refuse_doubles([str(value) for value in values or ()], "values")
        return values
