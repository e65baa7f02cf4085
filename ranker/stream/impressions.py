"""What a ranking request showed, as one entry of the log of events.

It holds what the ranking read beside the feature state: the records of the request and of the videos that
were returned, word by word, so that what is learned from it later is what was ranked with, whatever has
become of the stored records. Of the texts behind hashed words it has those that the request carried; those
of stored records are kept once each, see `texts.py`. How records are laid out is kept once a spec, see
`layouts.py`.

The content is a length of four bytes, a JSON object of that length, and the words, little-endian: those of
the request, then of the videos, then of the pairs of both. What the feature state knew may follow: of the
request, then of the videos.

Shape letters: N videos that were returned, W words of a record.
"""

import struct
from dataclasses import dataclass
from typing import Annotated, Final, Self

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from ranker.errors import EventLogError
from ranker.features.record import Words

_LENGTH: Final = struct.Struct("<I")
_Digest = Annotated[str, Field(pattern="^([0-9a-f]{2})*$")]
_Time = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class ImpressionHeader(BaseModel):
    """What an impression says in JSON.

    Attributes:
        request_id: Names the request.
        time_ms: When the request was made, Unix epoch in milliseconds.
        user_id: The viewer; None if unknown.
        query_video_id: The video that was on; None if there was none.
        video_ids: N videos in the order in which they were returned: the first has position 1.
        scores: (N,) what they were ranked by.
        propensities: (N,) the chance of each to be at its position; None if nothing was left to chance.
        predictions: (N, T) in natural units; None if they are not kept.
        layouts: Digests of the layouts of the request's, the videos' and the pairs' words.
        widths: Words of a record of each.
        model_version: The bundle that ranked.
        score_policy: The score policy that ranked.
        score_version: Its version.
        state_ms: Up to when the feature state had learned; None if it had learned nothing.
        reported: Whether a video counts as seen only if an event `shown` says so.
        texts: The texts behind hashed words that the request carried, but for ids.
        served: If the features of the state are kept: the digest of how, in hexadecimal, the bytes of what
            holds of the request, and those of what holds of each video.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str
    time_ms: _Time
    user_id: str | None
    query_video_id: str | None
    video_ids: list[str]
    scores: list[float]
    propensities: list[float] | None = None
    predictions: list[list[float]] | None = None
    layouts: tuple[str, str, str]
    widths: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt]
    model_version: str
    score_policy: str
    score_version: str
    state_ms: int | None = None
    reported: bool = False
    texts: list[str] = []
    served: tuple[_Digest, NonNegativeInt, NonNegativeInt] | None = None

    @model_validator(mode="after")
    def _of_each_video(self) -> Self:
        for name in ("scores", "propensities", "predictions"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.video_ids):
                raise ValueError(f"{name}: expected {len(self.video_ids)}, found {len(values)}")
        return self


@dataclass(frozen=True)
class Impression:
    """What one request showed.

    Attributes:
        header: All but the words.
        request: (1, W) the record of what holds of the whole request.
        videos: (N, W) those of the videos.
        pairs: (N, W) what the request carried of viewer and video together; W may be 0.
        served: What the feature state knew, see `ServedFeatures`; empty if it is not kept.
    """

    header: ImpressionHeader
    request: Words
    videos: Words
    pairs: Words
    served: bytes = b""

    def to_bytes(self) -> bytes:
        """The content of an entry."""
        header = orjson.dumps(self.header.__dict__)
        words = (part.astype("<u8", copy=False).tobytes() for part in (self.request, self.videos, self.pairs))
        return b"".join((_LENGTH.pack(len(header)), header, *words, self.served))

    def served_rows(self) -> list[bytes] | None:
        """For each video what the feature state knew, as rows of a log carry it; None if it is not kept."""
        if self.header.served is None:
            return None
        digest, whole, own = self.header.served
        begin = bytes.fromhex(digest) + self.served[:whole]
        starts = (whole + own * row for row in range(len(self.header.video_ids)))
        return [begin + self.served[start : start + own] for start in starts]

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str) -> "Impression":
        """Read the content of an entry.

        Args:
            data: The content.
            where: What to name in the message: the entry.

        Raises:
            EventLogError: It is damaged.
        """
        try:
            (length,) = _LENGTH.unpack_from(data)
            start = _LENGTH.size + length
            header = ImpressionHeader.model_validate(orjson.loads(data[_LENGTH.size : start]))
            counts = (1, len(header.video_ids), len(header.video_ids))
            size = sum(rows * width for rows, width in zip(counts, header.widths, strict=True))
            _, whole, own = header.served or ("", 0, 0)
            expected = start + 8 * size + whole + own * counts[1]
            if len(data) != expected:
                raise ValueError(f"expected {expected} bytes, found {len(data)}")
            words = np.frombuffer(data, "<u8", size, start).astype(np.uint64, copy=False)
        except (struct.error, ValueError, ValidationError) as error:
            raise EventLogError(
                f"{where}: expected an impression, found {' '.join(str(error).split()):.200}"
            ) from error
        end, parts = 0, []
        for rows, width in zip(counts, header.widths, strict=True):
            begin, end = end, end + rows * width
            parts.append(words[begin:end].reshape(rows, width))
        request, videos, pairs = parts
        return cls(header, request, videos, pairs, served=data[start + 8 * size :])
