"""A ranking request as the model takes it.

Shape letters: C candidates of a request, W words of a record.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ranker.features.record import Words
from serving.model.ranked_words import RankedWords
from serving.model.request_features import RequestFeatures


@dataclass(frozen=True)
class FetchedRecords:
    """What was read from the feature store for a request.

    Attributes:
        user: (W,) the viewer's record; None if none is stored.
        asked_ids: The videos that the store was asked for, because they were not resident.
        videos: The records, (W,) each, of those of them that are stored.
        complete: Whether the store answered, and all that it has could be read; if not, nobody knows whether
            what is missing here is stored.
    """

    user: Words | None = None
    asked_ids: Collection[str] = ()
    videos: Mapping[str, Words] = field(default_factory=dict)
    complete: bool = True


@dataclass(frozen=True)
class EncodedRequest:
    """A request whose features are records.

    Attributes:
        query_video_id: The video that is being watched, if any.
        candidate_ids: C candidates.
        features: What the request itself carries.
        fetched: What the feature store has.
        time_ms: When the request was made, Unix epoch.
        words: Takes the records that it is ranked with; None if nobody keeps them.
    """

    query_video_id: str | None
    candidate_ids: Sequence[str]
    features: RequestFeatures
    fetched: FetchedRecords
    time_ms: int
    words: RankedWords | None = None

    @property
    def video_ids(self) -> Sequence[str]:
        """The candidates, followed by the query video if there is one."""
        if self.query_video_id is None:
            return self.candidate_ids
        return [*self.candidate_ids, self.query_video_id]
