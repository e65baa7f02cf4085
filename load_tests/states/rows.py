"""A log's rows in the form that the state reads, and copies of the log with new ids."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from ranker.events import TIME_MS
from ranker.features.key_loops import Times
from ranker.features.kinds.id import VIEWER
from ranker.features.record import MISSING_KEY, RecordLayout, Words
from ranker.features.sides import Side
from ranker.features.state.feature_state import Labels
from ranker.labels.matrix import label_matrix
from ranker.spec import RankerSpec

RENAMED: Final = ("user_id", "video_id", "author_id")


@dataclass(frozen=True)
class Part:
    """A batch of the log in the form that the state reads."""

    words: Words
    times: Times
    labels: Labels


class Rows:
    """A log's rows in memory.

    Args:
        spec: The spec with the columns.
        batches: The log.
    """

    def __init__(self, spec: RankerSpec, batches: list[pa.RecordBatch]) -> None:
        self.records = RecordLayout((*spec.side(*Side), VIEWER), seed=spec.hash_seed)
        self.parts = [
            Part(self.records.of_batch(b), b.column(TIME_MS).to_numpy(), label_matrix(b, spec.feedback))
            for b in batches
        ]

    def __len__(self) -> int:
        return sum(len(part.times) for part in self.parts)

    def longer(self, spec: RankerSpec, copies: int) -> Iterator[Part]:
        """Yield copies of the log, each later and with new ids."""
        columns = [self.records.first_word(f) for f in spec.side(*Side) if f.name in RENAMED]
        begin_ms, end_ms = int(self.parts[0].times[0]), int(self.parts[-1].times[-1])
        for number in range(copies):
            salt = np.uint64(number * 0x9E3779B97F4A7C15 % 2**64)
            for part in self.parts:
                words = part.words.copy()
                ids = words[:, columns]
                words[:, columns] = np.where(ids == MISSING_KEY, ids, ids ^ salt)
                yield Part(words, part.times + number * (end_ms - begin_ms + 1), part.labels)
