"""What leaves a joiner, and where in the log another one goes on after it.

Shape letters: N videos of an impression, F labels.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from ranker.stream.event_log import BEGINNING, EntryId
from ranker.stream.impressions import Impression


@dataclass(frozen=True)
class JoinOffset:
    """Where a joiner goes on, as if it had never stopped.

    Attributes:
        oldest: The oldest impression that had not left.
        left: Younger ones that had left.
        rows: Rows of the next impression that were taken already.
        watermark_ms: Up to when all had arrived; 0 with the clock of arrival, as the ids of entries say it.
        time_ms: Time of the latest impression that left.
        reported: Up to which entry rejections were reported.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    oldest: EntryId
    left: tuple[EntryId, ...]
    rows: int
    watermark_ms: int
    time_ms: int
    reported: EntryId


START: Final = JoinOffset(BEGINNING, (), 0, 0, 0, BEGINNING)
"""The beginning of the log."""


@dataclass(frozen=True)
class Joined:
    """An impression with the feedback on it.

    Attributes:
        id: Its entry.
        time_ms: When it was shown: never before the one that left before it.
        impression: What was shown.
        labels: (N, F) float32 in natural units, NaN where missing.
        positions: (N,) where each video was seen; 0 for one that was not.
        before: The offset at which it is the next to leave.
    """

    id: EntryId
    time_ms: int
    impression: Impression
    labels: NDArray[np.float32]
    positions: NDArray[np.int64]
    before: JoinOffset

    def offset(self, rows: int) -> JoinOffset:
        """The offset after so many of its videos."""
        return replace(self.before, rows=rows)
