"""One id out of many, such as a video, an author or the viewer.

Shape letter: R rows.
"""

from typing import ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator

from ranker.events import USER_ID
from ranker.features.id_table import IdTable
from ranker.features.kinds.column import Form
from ranker.features.kinds.feature import Input
from ranker.features.kinds.hashed import MAX_ROWS, SharedTableFeature
from ranker.features.kinds.rows import Rows
from ranker.features.sides import Side
from ranker.spec_model import Duration


class IdFeature(SharedTableFeature):
    """One id out of many: hashed into a table of embeddings, or with a row of its own (`capacity`).

    Source of the latter: Liu et al. 2022 (Monolith), arXiv 2209.07663.
    """

    renamed_keys: ClassVar = {"admit": "admission_threshold", "expire": "expire_after"}
    form = Form.KEY
    expected = "an id (a string or a whole number)"

    kind: Literal["id"]
    capacity: PositiveInt | None = Field(
        None,
        le=MAX_ROWS - 2,
        description="In place of `buckets`: so many ids have a row each, without collisions; of more, the "
        "least recently seen loses its row.",
    )
    admission_threshold: PositiveInt = Field(
        1, description="With `capacity`: sightings after which an id has a row; before, ids share one."
    )
    expire_after: Duration | None = Field(
        None, description="With `capacity`: time after which an id that was not seen loses its row."
    )

    @property
    def input(self) -> Input:
        """One embedding."""
        return Input.EMBEDDING

    @property
    def table_rows(self) -> int:
        """With `capacity`: that of missing ids, one for all that have no row of their own, and theirs."""
        if self.capacity is None or self.shares:
            return super().table_rows
        return self.capacity + 2

    def id_table(self) -> IdTable | None:
        """See `HashedFeature`."""
        if self.capacity is None:
            return None
        return IdTable(self.capacity, self.admission_threshold, self.expire_after)

    def embedding(self, rows: Rows) -> NDArray[np.int64]:
        """(R,) the id's row."""
        return rows.id_rows(self, rows.keys(self)[:, 0])

    @model_validator(mode="after")
    def _own_rows_or_buckets(self) -> Self:
        if self.capacity is not None and self.buckets != type(self).model_fields["buckets"].default:
            raise ValueError(f"feature '{self.name}': expected either 'buckets' or 'capacity', found both")
        if self.capacity is None and (self.admission_threshold > 1 or self.expire_after is not None):
            raise ValueError(
                f"feature '{self.name}': 'admission_threshold' and 'expire_after' expect 'capacity', "
                "found none"
            )
        return self


VIEWER: Final = IdFeature(name=USER_ID, side=Side.USER, kind="id")
"""Whose history it is; read from the records even if it is no feature of the spec."""
