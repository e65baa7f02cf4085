"""The resident videos: their records, and what each adds to the network's first layer.

Shape letters: C candidates, N resident videos, W words of a record, H width of the first layer, T tasks.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from ranker.features.encoder import Encoder
from ranker.features.record import Words
from ranker.features.sides import Group
from ranker.features.stored import video_records
from ranker.networks.inference import InferenceModel, Part

ID_BYTES: Final = 200
"""Room that an id of usual length takes with its place in the dictionary and the list."""
LEAST_VIDEOS: Final = 2_000
"""Twice the candidates of the largest request."""
SHARE_EVICTED: Final = 16
"""One in so many videos leaves when there is no room, so that it need not be looked for every time."""
PARTS_AT_ONCE: Final = 1_024
"""Videos whose parts are computed together: a few milliseconds."""


class Catalogue:
    """Videos that need not be fetched nor computed again; the least recently used leave first.

    One thread at a time may use it, but any thread may ask which videos it is `lacking`.

    Args:
        encoder: Of the bundle.
        model: Computes the parts.
        memory: Bytes that all resident videos may take.

    Attributes:
        layout: Of the records.
        capacity: N at the most.
    """

    def __init__(self, encoder: Encoder, model: InferenceModel, memory: int) -> None:
        self.layout = video_records(encoder.spec)
        self._encoder = encoder
        self._model = model
        columns = encoder.records[Group.CANDIDATE]
        self._to_candidate = columns.shared_words(self.layout)
        assert len(self._to_candidate[0]) == columns.words  # all that a candidate is known by is stored
        self._missing = self.layout.missing(1)
        self.capacity = max(LEAST_VIDEOS, memory // self.bytes_per_video)
        # The system gives memory to these only where it is written to.
        self._records = np.empty((self.capacity, self.layout.words), np.uint64)
        self._used = np.zeros(self.capacity, np.int64)
        self._parts = Part(
            torch.empty((self.capacity, model.hidden_width), dtype=model.dtype, device=model.device),
            torch.empty((self.capacity, model.linear_width), device=model.device),
        )
        self._slots: dict[str, int] = {}
        self._ids: list[str | None] = []
        self._free: list[int] = []
        self._clock = 0

    @property
    def bytes_per_video(self) -> int:
        """What a resident video takes."""
        part = self._model.hidden_width * self._model.dtype.itemsize + self._model.linear_width * 4
        return self.layout.words * 8 + part + 8 + ID_BYTES

    def __len__(self) -> int:
        """N."""
        return len(self._slots)

    def lacking(self, ids: Iterable[str]) -> list[str]:
        """Those videos that are not resident."""
        slots = self._slots
        return [video_id for video_id in ids if video_id not in slots]

    def slots(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Look videos up, and note that they were used.

        Returns:
            (C,) places for `records` and `parts`, -1 where not resident.
        """
        get = self._slots.get
        slots = np.array([get(video_id, -1) for video_id in ids], np.int64)
        self._clock += 1
        self._used[slots[slots >= 0]] = self._clock
        return slots

    def records(self, slots: NDArray[np.int64]) -> Words:
        """(C, W): records of resident videos; where the slot is -1, one of which nothing is known."""
        return np.where(slots[:, None] >= 0, self._records[np.maximum(slots, 0)], self._missing)

    def parts(self, slots: NDArray[np.int64]) -> Part:
        """C rows: what resident videos add to the first layer."""
        return self._parts[torch.from_numpy(slots).to(self._model.device)]

    def candidate_words(self, records: Words) -> Words:
        """Records of C videos, (C, W), in the layout of the network's candidate features."""
        words = np.empty((len(records), len(self._to_candidate[0])), np.uint64)
        words[:, self._to_candidate[0]] = records[:, self._to_candidate[1]]
        return words

    def compute(self, words: Words) -> Part:
        """C rows: what candidates with such words, as of `candidate_words`, add to the first layer."""
        inputs = self._encoder.read(Group.CANDIDATE, words)
        return self._model.resident(self._model.part(Group.CANDIDATE, inputs))

    def put(self, ids: Sequence[str], records: Words, *, evict: bool = True) -> None:
        """Make videos resident, or change them.

        Args:
            ids: The videos, each once.
            records: (len(ids), W).
            evict: Whether videos that are not resident may take the place of others; else they come in
                only where there is room.
        """
        if not evict and len(self) + len(self.lacking(ids)) > self.capacity:
            kept = [place for place, video_id in enumerate(ids) if video_id in self._slots]
            ids, records = [ids[place] for place in kept], records[kept]
        for start in range(0, len(ids), PARTS_AT_ONCE):
            piece = slice(start, start + PARTS_AT_ONCE)
            parts = self.compute(self.candidate_words(records[piece]))
            slots = self._take(ids[piece])
            self._records[slots] = records[piece]
            places = torch.from_numpy(slots).to(self._model.device)
            self._parts.hidden[places] = parts.hidden
            self._parts.linear[places] = parts.linear

    def remove(self, ids: Iterable[str]) -> None:
        """Forget videos."""
        for video_id in ids:
            slot = self._slots.pop(video_id, None)
            if slot is not None:
                self._ids[slot] = None
                self._free.append(slot)

    def ids(self) -> list[str]:
        """All resident videos, the least recently used first."""
        order = np.argsort(self._used[: len(self._ids)], kind="stable").tolist()
        return [video_id for slot in order if (video_id := self._ids[slot]) is not None]

    def copies(self, ids: Iterable[str]) -> tuple[list[str], Words]:
        """Those of some videos that are still resident, and their records."""
        resident = {video_id: slot for video_id in ids if (slot := self._slots.get(video_id)) is not None}
        return list(resident), self._records[list(resident.values())]

    def _take(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Slots for these videos, with the others' slots where there is no room; all count as just used."""
        self._clock += 1
        slots = np.array([self._slots.get(video_id, -1) for video_id in ids], np.int64)
        self._used[slots[slots >= 0]] = self._clock
        for place in np.flatnonzero(slots < 0).tolist():
            slots[place] = slot = self._free_slot()
            self._slots[ids[place]] = slot
            self._ids[slot] = ids[place]
            self._used[slot] = self._clock
        return slots

    def _free_slot(self) -> int:
        if not self._free and len(self._ids) < self.capacity:
            self._ids.append(None)
            return len(self._ids) - 1
        if not self._free:
            oldest = np.argpartition(self._used, self.capacity // SHARE_EVICTED)
            evicted = oldest[: self.capacity // SHARE_EVICTED].tolist()
            self.remove([name for slot in evicted if (name := self._ids[slot]) is not None])
        return self._free.pop()
