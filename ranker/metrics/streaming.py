"""Metrics of a stream of rows, from sums of a fixed size that add up across batches and processes.

Shape letters: B rows of a batch, T tasks, K tasks of one kind, M metrics.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ranker.errors import CheckpointError

Floats = NDArray[np.float64]


class MetricSums(ABC):
    """Sums over the rows of K heads of one kind, from which their metrics follow.

    Attributes:
        metrics: Names of the metrics, in the order of the columns of `result`.
        counts: Those of them that are whole numbers.
        arrays: The sums by name; each adds up over rows.

    Args:
        heads: K.
    """

    metrics: ClassVar[tuple[str, ...]]
    counts: ClassVar[frozenset[str]]

    def __init__(self, heads: int) -> None:
        self.arrays: dict[str, NDArray[Any]] = self.zeros(heads)

    @staticmethod
    @abstractmethod
    def zeros(heads: int) -> dict[str, NDArray[Any]]:
        """The sums over no rows."""

    @abstractmethod
    def update(self, predictions: Floats, labels: Floats, missing: NDArray[np.bool_]) -> None:
        """Add a batch.

        Args:
            predictions: (K, B) in natural units, 0 where the label is missing. One that is NaN makes its
                head's sums NaN.
            labels: (K, B) in natural units, 0 where missing.
            missing: (K, B).
        """

    @abstractmethod
    def result(self) -> Floats:
        """(K, M) the metrics so far, NaN where undefined."""

    def merge(self, other: Self) -> None:
        """Add the sums of other rows of the same heads."""
        for name, array in self.arrays.items():
            array += other.arrays[name]


class StreamingMetrics:
    """The metrics of all heads.

    Args:
        heads: The class of every head's sums by the head's name, in the order of the predictions' columns.

    Attributes:
        metrics: Names of all kinds' metrics, each once: the columns of `result`.
        counts: Those of them that are whole numbers.
    """

    def __init__(self, heads: Mapping[str, type[MetricSums]]) -> None:
        columns: dict[type[MetricSums], list[int]] = {}
        for index, kind in enumerate(heads.values()):
            columns.setdefault(kind, []).append(index)
        self._groups = [(kind(len(group)), group) for kind, group in columns.items()]
        self._heads = len(heads)
        self.metrics = tuple(dict.fromkeys(name for kind in columns for name in kind.metrics))
        self.counts = frozenset[str]().union(*(kind.counts for kind in columns))

    def update(self, predictions: NDArray[np.floating], labels: NDArray[np.floating]) -> None:
        """Add a batch.

        Args:
            predictions: (B, T) in natural units. One that is NaN makes its head's sums NaN.
            labels: (B, T) in natural units, NaN where missing.
        """
        prediction_tb, label_tb = (np.ascontiguousarray(x.T, np.float64) for x in (predictions, labels))
        missing_tb = np.isnan(label_tb)
        prediction_tb = np.where(missing_tb, 0.0, prediction_tb)
        label_tb = np.where(missing_tb, 0.0, label_tb)
        for sums, group in self._groups:
            sums.update(prediction_tb[group], label_tb[group], missing_tb[group])

    def merge(self, other: "StreamingMetrics") -> None:
        """Add the sums of other rows of the same heads."""
        for (own, _), (others, _) in zip(self._groups, other._groups, strict=True):
            own.merge(others)

    def result(self) -> Floats:
        """The metrics so far: (T, M), NaN where undefined or not of the head's kind."""
        result = np.full((self._heads, len(self.metrics)), np.nan)
        for sums, group in self._groups:
            result[np.ix_(group, [self.metrics.index(name) for name in sums.metrics])] = sums.result()
        return result

    def state_dict(self) -> dict[str, NDArray[np.generic]]:
        """Copies of the sums, for a checkpoint."""
        return {name: array.copy() for name, array in self._arrays().items()}

    def load_state_dict(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from the sums that `state_dict` gave.

        Raises:
            CheckpointError: They are of other heads.
        """
        for name, own in self._arrays().items():
            found = state.get(name)
            if found is None or found.shape != own.shape or found.dtype != own.dtype:
                raise CheckpointError(
                    f"metric state '{name}': expected {own.dtype} {own.shape}, "
                    f"found {'none' if found is None else f'{found.dtype} {found.shape}'}"
                )
            own[...] = found

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {
            f"{index}.{name}": array
            for index, (sums, _) in enumerate(self._groups)
            for name, array in sums.arrays.items()
        }
