"""The resident videos: their records and their side outputs, in tables of fixed size.

Shape letters: C videos asked for, W words of a record, H width of a hidden side output, T tasks.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from ranker.features.record import RecordLayout, Words
from ranker.networks.inference import SideOutput

Rows = NDArray[np.int64]
ID_BYTES: Final = 200
"""Bytes that an id of usual length takes, with its entries in the dictionary and the list."""
MIN_CAPACITY: Final = 2_000
"""Twice the candidates of the largest request."""
EVICTED_FRACTION: Final = 16
"""A full catalogue evicts one in so many videos at once, so that it rarely has to search for the oldest."""


class Catalogue:
    """Stores what ranking needs of the resident videos; evicts the least recently used.

    It computes nothing: `ServedModel.put_videos` fills it. One thread at a time may use it, but any thread
    may ask which videos are `missing`.

    Args:
        layout: Of the records.
        hidden_width: H.
        linear_width: Columns of `linear`: T, or 0 for a network without a linear path.
        dtype: Of `hidden`.
        device: Where the side outputs are stored.
        max_bytes: Memory that all resident videos may take.

    Attributes:
        layout: Of the records.
        capacity: Videos that can be resident.
        bytes_per_video: Memory that a resident video takes.
    """

    def __init__(
        self,
        layout: RecordLayout,
        *,
        hidden_width: int,
        linear_width: int,
        dtype: torch.dtype,
        device: torch.device,
        max_bytes: int,
    ) -> None:
        self.layout = layout
        output_bytes = hidden_width * dtype.itemsize + linear_width * 4
        self.bytes_per_video = layout.words * 8 + output_bytes + 8 + ID_BYTES
        self.capacity = max(MIN_CAPACITY, max_bytes // self.bytes_per_video)
        self._unknown = layout.missing(1)
        # The system provides the memory of these tables only where they are written to.
        self._records = np.empty((self.capacity, layout.words), np.uint64)
        self._outputs = SideOutput(
            torch.empty((self.capacity, hidden_width), dtype=dtype, device=device),
            torch.empty((self.capacity, linear_width), device=device),
        )
        self._last_used = np.zeros(self.capacity, np.int64)
        self._row_of: dict[str, int] = {}
        self._id_of: list[str | None] = []
        self._free_rows: list[int] = []
        self._clock = 0

    def __len__(self) -> int:
        """How many videos are resident."""
        return len(self._row_of)

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of some videos that are not resident."""
        resident = self._row_of
        return [video_id for video_id in ids if video_id not in resident]

    def rows(self, ids: Sequence[str]) -> Rows:
        """Look videos up, and mark them as just used.

        Returns:
            (C,) rows for `records` and `outputs`, -1 for a video that is not resident.
        """
        get = self._row_of.get
        rows = np.array([get(video_id, -1) for video_id in ids], np.int64)
        self._clock += 1
        self._last_used[rows[rows >= 0]] = self._clock
        return rows

    def records(self, rows: Rows) -> Words:
        """(C, W) copies of records; for row -1, one in which every column is missing."""
        return np.where(rows[:, None] >= 0, self._records[np.maximum(rows, 0)], self._unknown)

    def outputs(self, rows: Rows) -> SideOutput:
        """C rows of side outputs, copied; for row -1, those of an arbitrary video."""
        return self._outputs[self._on_device(np.maximum(rows, 0))]

    def fitting(self, ids: Sequence[str]) -> list[int]:
        """Indices of the ids that can be put without evicting: all, or else only the resident ones."""
        if len(self) + len(self.missing(ids)) <= self.capacity:
            return list(range(len(ids)))
        return [index for index, video_id in enumerate(ids) if video_id in self._row_of]

    def put(self, ids: Sequence[str], records: Words, outputs: SideOutput) -> None:
        """Make videos resident, or replace what is stored of them; all count as just used.

        Args:
            ids: The videos, each once and at most `capacity`.
            records: (len(ids), W).
            outputs: len(ids) rows.
        """
        rows = self._claim(ids)
        self._records[rows] = records
        on_device = self._on_device(rows)
        self._outputs.hidden[on_device] = outputs.hidden
        self._outputs.linear[on_device] = outputs.linear

    def remove(self, ids: Iterable[str]) -> None:
        """Remove videos; those that are not resident are ignored."""
        for video_id in ids:
            row = self._row_of.pop(video_id, None)
            if row is not None:
                self._id_of[row] = None
                self._free_rows.append(row)

    def ids(self) -> list[str]:
        """All resident videos, the least recently used first."""
        order = np.argsort(self._last_used[: len(self._id_of)], kind="stable").tolist()
        return [video_id for row in order if (video_id := self._id_of[row]) is not None]

    def copies(self, ids: Iterable[str]) -> tuple[list[str], Words]:
        """Those of some videos that are still resident, and copies of their records; no use is marked."""
        resident = {video_id: row for video_id in ids if (row := self._row_of.get(video_id)) is not None}
        return list(resident), self._records[list(resident.values())]

    def _on_device(self, rows: Rows) -> torch.Tensor:
        return torch.from_numpy(rows).to(self._outputs.hidden.device)

    def _claim(self, ids: Sequence[str]) -> Rows:
        """A row for each video: its own if it is resident, else a free one or that of an evicted video."""
        rows = self.rows(ids)
        for index in np.flatnonzero(rows < 0).tolist():
            rows[index] = row = self._free_row()
            self._row_of[ids[index]] = row
            self._id_of[row] = ids[index]
            self._last_used[row] = self._clock
        return rows

    def _free_row(self) -> int:
        if not self._free_rows and len(self._id_of) < self.capacity:
            self._id_of.append(None)
            return len(self._id_of) - 1
        if not self._free_rows:
            count = self.capacity // EVICTED_FRACTION
            oldest = np.argpartition(self._last_used, count)[:count].tolist()
            self.remove([video_id for row in oldest if (video_id := self._id_of[row]) is not None])
        return self._free_rows.pop()
