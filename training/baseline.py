"""The ranker to beat: smoothed rates of the viewer, the video and a context column, added up as logits.

It knows who clicks much, what is clicked much and where; it is what a team has before it has a model.

Shape letters: B rows, L labels, K distinct values of a key.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ranker.errors import SourceError

Floats = NDArray[np.float64]


class SmoothedRates:
    """For each binary label: the logit of a key's rate, summed over the keys.

    A rate is (positives + strength * prior) / (rows + strength), where the prior is the label's overall
    rate: a value that was never seen counts as average.

    Args:
        keys: Columns, such as user_id, video_id and tab.
        labels: Label columns, 0 or 1, null where missing.
        strength: How many rows the prior is worth.
    """

    def __init__(self, keys: Sequence[str], labels: Sequence[str], *, strength: float = 5.0) -> None:
        self.labels, self.strength = tuple(labels), strength
        self._tables = {key: _Counts(len(self.labels)) for key in keys}
        self._total = np.zeros((len(self.labels), 2))

    def fit(
        self, batches: Iterable[pa.RecordBatch], labels: Callable[[pa.RecordBatch], Floats] | None = None
    ) -> None:
        """Count; memory grows with the number of distinct values, not of rows.

        Args:
            batches: The rows.
            labels: Gives the (B, L) labels of a batch, NaN where missing; by default those of its columns.

        Raises:
            SourceError: There are no rows.
        """
        rows = 0
        for batch in batches:
            rows += batch.num_rows
            found = (labels or self._columns)(batch)
            counts = np.stack([np.nan_to_num(found), ~np.isnan(found)], axis=2)  # (B, L, 2)
            self._total += counts.sum(axis=0)
            for key, table in self._tables.items():
                table.add(batch.column(key), counts)
        if not rows:
            raise SourceError("smoothed rates: expected the rows that the bundle was trained on, found none")

    def _columns(self, batch: pa.RecordBatch) -> Floats:
        return np.stack([_floats(batch.column(name)) for name in self.labels], axis=1)

    def score(self, batch: pa.RecordBatch) -> Floats:
        """Score rows.

        Returns:
            (B, L) sums of logits, comparable within a label.
        """
        prior = (self._total[:, 0] + 0.5) / (self._total[:, 1] + 1)
        score = np.zeros((batch.num_rows, len(self.labels)))
        for key, table in self._tables.items():
            counts = table.of(batch.column(key))
            rate = (counts[:, :, 0] + self.strength * prior) / (counts[:, :, 1] + self.strength)
            score += np.log(rate) - np.log1p(-np.minimum(rate, 1 - 1e-12))
        return score


class _Counts:
    """Positives and rows of every value of a key."""

    def __init__(self, labels: int) -> None:
        self._values: pa.Array | None = None
        self._counts = np.zeros((0, labels, 2))  # (K, L, 2)

    def add(self, column: pa.Array, counts: NDArray[np.float64]) -> None:
        known = column.slice(0, 0) if self._values is None else self._values
        fresh = pc.unique(column.filter(pc.invert(pc.is_in(column, value_set=known))))
        self._values = pa.concat_arrays([known, fresh])
        self._counts = np.concatenate([self._counts, np.zeros((len(fresh), *self._counts.shape[1:]))])
        np.add.at(self._counts, self._indices(column), counts)

    def of(self, column: pa.Array) -> NDArray[np.float64]:
        indices = self._indices(column)
        return np.where((indices >= 0)[:, None, None], self._counts[indices], 0.0)

    def _indices(self, column: pa.Array) -> NDArray[np.int64]:
        indices: NDArray[np.int64] = (
            pc.index_in(column, value_set=self._values).fill_null(-1).to_numpy(zero_copy_only=False)
        )
        return indices


def _floats(column: pa.Array) -> Floats:
    values: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values
