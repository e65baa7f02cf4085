"""A ranking request as the model takes it, and what the model answers.

Shape letters: C candidates of a request, L ranked ones that are returned, T tasks, K terms, W words of a
record.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ranker.errors import WatchnextError
from ranker.features.record import Words
from serving.model.request_features import RequestFeatures

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FetchedRecords:
    """What was read from the feature store for a request.

    Attributes:
        user: (W,) the viewer's record; None if none is stored.
        asked_ids: The videos that the store was asked for, because they were not resident.
        videos: The records, (W,) each, of those of them that are stored.
    """

    user: Words | None = None
    asked_ids: Collection[str] = ()
    videos: Mapping[str, Words] = field(default_factory=dict)


@dataclass(frozen=True)
class EncodedRequest:
    """A request whose features are records.

    Attributes:
        query_video_id: The video that is being watched, if any.
        candidate_ids: C candidates.
        features: What the request itself carries.
        fetched: What the feature store has.
        limit: How many of the best are wanted; None for all.
        time_ms: When the request was made, Unix epoch.
    """

    query_video_id: str | None
    candidate_ids: Sequence[str]
    features: RequestFeatures
    fetched: FetchedRecords
    limit: int | None
    time_ms: int

    @property
    def video_ids(self) -> Sequence[str]:
        """The candidates, followed by the query video if there is one."""
        if self.query_video_id is None:
            return self.candidate_ids
        return [*self.candidate_ids, self.query_video_id]


@dataclass(frozen=True)
class Ranked:
    """The best candidates of a request, best first.

    Attributes:
        order: (L,) their indices among the candidates.
        predictions: (L, T) in natural units.
        scores: (L,)
        contributions: (L, K) each term's part in the score.
        score_s: Seconds that scoring and sorting its batch took.
    """

    order: NDArray[np.intp]
    predictions: Floats
    scores: Floats
    contributions: Floats
    score_s: float


class EvictedError(WatchnextError):
    """Videos were evicted after the missing ones were fetched: now all of the request's have to be."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} videos left the catalogue while their request waited")
