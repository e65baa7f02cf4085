"""The contract of whoever is told of each step of a training loop, and goes on with a checkpoint."""

from collections.abc import Mapping
from typing import Any, Protocol

import pyarrow as pa
from numpy.typing import NDArray

from training.trainer import StepResult


class StepListener(Protocol):
    """Told of each step; what it keeps of them depends on the steps alone."""

    def after_step(self, records: pa.RecordBatch, result: StepResult) -> None:
        """Take in a step.

        Args:
            records: The batch that was learned.
            result: What it showed.
        """

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """What is kept, for a checkpoint; nothing of 64-bit unsigned numbers."""

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state_dict` gave; from nothing if it is empty."""
