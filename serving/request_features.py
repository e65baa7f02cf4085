"""The features of one request: which columns it may carry, and how they join with the stored ones."""

from collections.abc import Iterable, Mapping, Sequence

from ranker.errors import FeatureError
from ranker.feature_spec import Side
from ranker.features.values import FeatureValue
from ranker.records import QUERY_PREFIX, QUERY_VIDEO_ID, USER_ID, VIDEO_ID
from ranker.spec import RankerSpec
from serving.feature_store import Stored
from serving.problems import InvalidRequestError, Place, pointer
from serving.schemas import RankRequest, Unknown

Columns = Mapping[str, FeatureValue]


class RequestFeatures:
    """Knows which of a spec's columns stand where in a request.

    Args:
        spec: The model's spec.
    """

    def __init__(self, spec: RankerSpec) -> None:
        self._user = frozenset(spec.user_columns)
        self._query = frozenset(
            f.source_column.removeprefix(QUERY_PREFIX)
            for f in spec.side(Side.QUERY)
            if f.source_column != QUERY_VIDEO_ID
        )
        self._context = frozenset(f.source_column for f in spec.side(Side.CONTEXT))
        self._candidate = frozenset(f.source_column for f in spec.side(Side.CANDIDATE, Side.PAIR)) - {
            VIDEO_ID
        }

    def check(self, body: RankRequest) -> None:
        """Refuse columns that the model has not, and candidates named twice.

        Raises:
            InvalidRequestError: With every place.
        """
        places = [
            *_unknown(body.user.features, self._user, ("user", "features")),
            *_unknown(body.query_features, self._query, ("query_features",)),
            *_unknown(body.context, self._context, ("context",)),
        ]
        first: dict[str, int] = {}
        for index, candidate in enumerate(body.candidates):
            if candidate.features:
                where = ("candidates", index, "features")
                places += _unknown(candidate.features, self._candidate, where)
            before = first.setdefault(candidate.id, index)
            if before != index:
                place = pointer(("candidates", index, "id"))
                places.append(Place(place, f"expected each video once, found /candidates/{before}/id again"))
        if places:
            raise InvalidRequestError(places)

    def join(self, body: RankRequest, stored: Stored | None) -> tuple[Columns, list[Columns]]:
        """Put the request's columns over the stored ones.

        Args:
            body: A checked request.
            stored: What the store has; None to use the request alone.

        Returns:
            The columns of user, query video and context, and those of each candidate.
        """
        known = stored or Stored(None, None, [None] * len(body.candidates))
        query = {**(known.query_video or {}), **body.query_features}
        request = {
            **(known.user or {}),
            **body.user.features,
            **{QUERY_PREFIX + name: query[name] for name in self._query if name in query},
            **body.context,
            USER_ID: body.user.id,
            QUERY_VIDEO_ID: body.query_video_id,
        }
        candidates: list[Columns] = [
            {**(record or {}), **candidate.features, VIDEO_ID: candidate.id}
            for candidate, record in zip(body.candidates, known.candidates, strict=True)
        ]
        return request, candidates

    def unknown(self, body: RankRequest, stored: Stored | None) -> Unknown:
        """Name those of whom neither the store nor the request knows a feature."""
        known = stored or Stored(None, None, [None] * len(body.candidates))
        videos = [
            candidate.id
            for candidate, record in zip(body.candidates, known.candidates, strict=True)
            if record is None and not candidate.features
        ]
        query = body.query_video_id
        if (
            query is not None
            and known.query_video is None
            and not body.query_features
            and query not in videos
        ):
            videos.append(query)
        return Unknown(user=known.user is None and not body.user.features, videos=videos)

    def carried(self, body: RankRequest, error: FeatureError) -> Place | None:
        """Where the request carries a value that the model refused; None if the value was stored."""
        column, query_column = error.feature, error.feature.removeprefix(QUERY_PREFIX)
        places: list[tuple[Columns, str, Sequence[str | int]]] = [
            (body.user.features, column, ("user", "features")),
            (body.query_features, query_column, ("query_features",)),
            (body.context, column, ("context",)),
        ]
        if column in self._candidate and error.row is not None:
            places = [(body.candidates[error.row].features, column, ("candidates", error.row, "features"))]
        for features, name, where in places:
            if name in features:
                message = str(error).removeprefix(f"{error.feature}: ").removesuffix(f" in row {error.row}")
                return Place(pointer((*where, name)), message)
        return None


def _unknown(features: Columns, known: frozenset[str], where: Sequence[str | int]) -> Iterable[Place]:
    for name in features:
        if name not in known:
            expected = ", ".join(sorted(known)) or "none: the model uses no such feature"
            yield Place(pointer((*where, name)), f"expected one of the model's columns ({expected})")
