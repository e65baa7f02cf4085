"""The labels of a batch as one matrix.

Shape letters: B rows, L labels.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranker.errors import LabelError
from ranker.events import TIME_MS
from ranker.labels.label import Label


def label_matrix(batch: pa.RecordBatch, labels: Sequence[Label]) -> NDArray[np.float32]:
    """The labels of a batch.

    Returns:
        (B, T + further labels) float32 in natural units, NaN where missing: the tasks', then the others.

    Raises:
        LabelError: A label is no number, infinite, or outside the range of its kind.
    """
    matrix = np.empty((batch.num_rows, len(labels)), np.float32)
    for index, label in enumerate(labels):
        value = number_column(batch, label.source_column)
        low, high = label.value_range
        refuse_rows(
            batch,
            label.source_column,
            (value < low) | (value > high) | np.isinf(value),
            f"{label.kind} labels from {low:g} to {high:g}, none infinite",
        )
        matrix[:, index] = value
    return matrix


def known_by(
    time_ms: int, labels: NDArray[np.float32], times: NDArray[np.int64], kinds: Sequence[Label]
) -> NDArray[np.float32]:
    """Labels without those whose wait was not over at a time.

    Args:
        time_ms: The time; a label whose wait ends then is not yet known.
        labels: (B, L) of `label_matrix`.
        times: (B,) milliseconds at which the rows were shown.
        kinds: Of the columns.

    Returns:
        (B, L), NaN where missing or not yet known.
    """
    waits = np.array([round(label.label_wait * 1000) for label in kinds], np.int64)
    return np.where(times[:, None] + waits < time_ms, labels, np.float32(np.nan))


def number_column(batch: pa.RecordBatch, name: str) -> NDArray[np.float32]:
    """A column as (B,) float32, NaN where missing."""
    column = batch.column(name)
    try:
        numbers: NDArray[np.float32] = column.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise LabelError(
            f"column '{name}': expected numbers, found {column.type}: {error}; "
            "cast the column when the log is written"
        ) from error
    return numbers


def refuse_rows(batch: pa.RecordBatch, name: str, wrong: NDArray[np.bool_], expected: str) -> None:
    """Refuse a batch for the first of some wrong rows, (B,) bool, and say what was expected there.

    Raises:
        LabelError: A row is wrong.
    """
    if wrong.any():
        row = int(wrong.argmax())
        raise LabelError(
            f"column '{name}': expected {expected}, found {batch.column(name)[row]} "
            f"at time_ms {batch.column(TIME_MS)[row]}"
        )
