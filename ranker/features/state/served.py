"""What the state knew when a request was ranked, as bytes: so that what was served is learned, bit by bit.

Numbers are written for every row, histories once a request, as they are the viewer's.

Shape letters: R rows, N numbers of a group.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranker.features.layout import Layout
from ranker.features.sides import Group
from ranker.features.state.reading import Known

DIGEST_BYTES: Final = 8
"""Every row begins with them."""

_Records = NDArray[np.void]


class ServedFeatures:
    """How a spec's features of the state are written.

    Args:
        digest: Names what the state is made of.
        layout: The features in their order.
        known: Of each group, no row or more, which says how much is known of a row.

    Attributes:
        digest: Names all that decides how bytes are read.
        request_bytes: Bytes of what holds of the whole request.
        row_bytes: Bytes of what holds of a video in it.
    """

    def __init__(self, digest: str, layout: Layout, known: Mapping[Group, Known]) -> None:
        order = {group.value: [feature.name for feature in layout.state_features(group)] for group in Group}
        whole: list[Any] = []
        own: list[Any] = []
        for group, one in known.items():
            numbers = (f"{group}/numbers", "<f4", (one.numbers.shape[1],))
            (whole if group is Group.REQUEST else own).append(numbers)
            for name, history in one.histories.items():
                whole.append((f"{group}/{name}/values", "<u8", history.values.shape[1:]))
                whole.append((f"{group}/{name}/ages", "<f8", history.ages_s.shape[1:]))
        self._whole, self._own = np.dtype(whole), np.dtype(own)
        made_of = f"{digest} {order} {whole} {own}".encode()
        self.digest = hashlib.sha256(made_of).digest()[:DIGEST_BYTES]
        self.request_bytes, self.row_bytes = self._whole.itemsize, self._own.itemsize

    @property
    def is_nothing(self) -> bool:
        """Whether the spec has no such features."""
        return self.request_bytes + self.row_bytes == 0

    def request(self, known: Mapping[Group, Known]) -> bytes:
        """What holds of a whole request.

        Args:
            known: Of the group REQUEST one row, of the others the videos' rows.
        """
        record: _Records = np.zeros(1, self._whole)
        record[f"{Group.REQUEST}/numbers"] = known[Group.REQUEST].numbers
        for group, one in known.items():
            for name, history in one.histories.items():
                if len(history.values):
                    record[f"{group}/{name}/values"] = history.values[:1]
                    record[f"{group}/{name}/ages"] = history.ages_s[:1]
        return record.tobytes()

    def rows(self, known: Mapping[Group, Known], rows: NDArray[np.integer]) -> bytes:
        """What holds of some videos, one after the other."""
        records: _Records = np.zeros(len(rows), self._own)
        for group, one in known.items():
            if group is not Group.REQUEST and len(one.numbers):
                records[f"{group}/numbers"] = one.numbers[rows]
        return records.tobytes()

    def put(self, carried: Sequence[bytes | None], known: Mapping[Group, Known]) -> tuple[int, int]:
        """Let what rows carry take the place of what is known of them.

        Args:
            carried: R rows: the digest, what holds of the request, and what holds of the video; None for a
                row without. Those of another digest are passed over.
            known: What is known of the same rows of each group; it is changed.

        Returns:
            How many rows carried something, and of how many it differed from what was known.
        """
        size = DIGEST_BYTES + self.request_bytes + self.row_bytes
        taken = [
            row
            for row, data in enumerate(carried)
            if data is not None and len(data) == size and data.startswith(self.digest)
        ]
        if not taken:
            return 0, 0
        dtype = np.dtype([("digest", f"V{DIGEST_BYTES}"), ("whole", self._whole), ("own", self._own)])
        found = np.frombuffer(b"".join(carried[row] or b"" for row in taken), dtype)
        rows = np.array(taken)
        differs = np.zeros(len(rows), bool)

        def put(into: NDArray[Any], values: NDArray[Any]) -> None:
            before = into[rows]
            same = (before == values) | ((before != before) & (values != values))
            differs[~same.reshape(len(rows), -1).all(axis=1)] = True
            into[rows] = values

        for group, one in known.items():
            part = found["whole" if group is Group.REQUEST else "own"]
            put(one.numbers, part[f"{group}/numbers"])
            for name, history in one.histories.items():
                put(history.values, found["whole"][f"{group}/{name}/values"])
                put(history.ages_s, found["whole"][f"{group}/{name}/ages"])
        return len(rows), int(np.count_nonzero(differs))
