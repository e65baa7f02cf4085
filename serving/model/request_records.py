"""What a request carries: checked, and made into records.

Shape letters: W words of a record.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.errors import FeatureError, InvalidRequestError, Mistake
from ranker.events import QUERY_PREFIX, QUERY_VIDEO_ID, USER_ID, VIDEO_ID
from ranker.features.encoder import Encoder
from ranker.features.kinds.feature import ColumnFeature
from ranker.features.record import RecordLayout, Words
from ranker.features.sides import SIDES, Group, Side
from ranker.features.values import FeatureValue
from serving.http.json_pointer import json_pointer
from serving.schemas import RankRequest

Columns = Mapping[str, FeatureValue]
Path = Sequence[str | int]
LAYOUTS_KEPT: Final = 256
"""Sets of carried columns that are remembered; callers send the same few again and again."""


@dataclass(frozen=True)
class Carried:
    """Some words of some records, which replace what is stored.

    Attributes:
        rows: Which records.
        places: Which of their words.
        words: (rows, places).
    """

    rows: list[int]
    places: NDArray[np.int64]
    words: Words

    def put_into(self, words: Words) -> None:
        """Replace."""
        if len(self.rows) == 1:
            words[self.rows[0], self.places] = self.words[0]
        else:
            words[np.ix_(np.array(self.rows), self.places)] = self.words


@dataclass(frozen=True)
class RequestRecords:
    """What a request carries, by the group whose records it goes into."""

    request: tuple[Carried, ...]
    candidates: tuple[Carried, ...]
    pairs: tuple[Carried, ...]


class RequestReader:
    """Knows which of a spec's columns may stand where in a request, and makes records of them.

    Args:
        encoder: Of the bundle.
    """

    def __init__(self, encoder: Encoder) -> None:
        spec = encoder.spec
        self._spec = spec
        self._user = frozenset(spec.user_columns)
        self._query = frozenset(
            f.source_column.removeprefix(QUERY_PREFIX)
            for f in spec.side(Side.QUERY)
            if f.source_column != QUERY_VIDEO_ID
        )
        self._context = frozenset(f.source_column for f in spec.side(Side.CONTEXT))
        self._own = {
            group: frozenset(f.source_column for f in spec.side(*SIDES[group])) - {VIDEO_ID}
            for group in (Group.CANDIDATE, Group.PAIR)
        }
        self._of_candidate = self._own[Group.CANDIDATE] | self._own[Group.PAIR]
        self._records = encoder.records
        self._columns = {group: encoder.layout.columns(group) for group in Group}
        self._known: dict[tuple[Group, frozenset[str]], tuple[RecordLayout, NDArray[np.int64]]] = {}

    def read(self, body: RankRequest) -> RequestRecords:
        """Check a request and make records of what it carries.

        Raises:
            InvalidRequestError: It carries columns that the model has not, values of the wrong type, or a
                candidate twice; with every place.
        """
        self._check(body)
        request = {
            **body.user.features,
            **{QUERY_PREFIX + name: value for name, value in body.query_features.items()},
            **body.context,
            USER_ID: body.user.id,
            QUERY_VIDEO_ID: body.query_video_id,
        }
        try:
            mine = self._carried(Group.REQUEST, [request], [0])
        except FeatureError as error:
            raise InvalidRequestError([_place_of(body, error)]) from error
        carrying = [place for place, candidate in enumerate(body.candidates) if candidate.get("features")]
        if not carrying:
            return RequestRecords(mine, (), ())
        candidates: list[Carried] = []
        pairs: list[Carried] = []
        for columns, places in _by_columns(body, carrying).items():
            rows = [body.candidates[place]["features"] for place in places]
            try:
                if columns & self._own[Group.CANDIDATE]:
                    candidates += self._carried(Group.CANDIDATE, rows, places)
                if self._columns[Group.PAIR]:
                    pairs += self._carried(Group.PAIR, rows, places)
            except FeatureError as error:
                row = places[error.row or 0]
                where = ("candidates", row, "features", error.feature)
                raise InvalidRequestError([Mistake(json_pointer(where), message(error))]) from error
        return RequestRecords(mine, tuple(candidates), tuple(pairs))

    def _check(self, body: RankRequest) -> None:
        places = [
            *_unknown(body.user.features, self._user, ("user", "features")),
            *_unknown(body.query_features, self._query, ("query_features",)),
            *_unknown(body.context, self._context, ("context",)),
        ]
        for index, candidate in enumerate(body.candidates):
            if "features" in candidate:
                where = ("candidates", index, "features")
                places += _unknown(candidate["features"], self._of_candidate, where)
        if len({candidate["id"] for candidate in body.candidates}) < len(body.candidates):
            places += _doubles(body)
        if places:
            raise InvalidRequestError(places)

    def _carried(self, group: Group, rows: Sequence[Columns], places: list[int]) -> tuple[Carried, ...]:
        """Words of rows that all have the same columns."""
        layout, words = self._layout(group, frozenset(rows[0]))
        if not layout.words:
            return ()
        return (Carried(places, words, layout.of_rows(rows)),)

    def _layout(self, group: Group, columns: frozenset[str]) -> tuple[RecordLayout, NDArray[np.int64]]:
        """A layout of these columns alone, and where its words stand in the group's records."""
        found = self._known.get((group, columns))
        if found is None:
            features: list[ColumnFeature] = [f for f in self._columns[group] if f.source_column in columns]
            layout = RecordLayout(features, seed=self._spec.hash_seed)
            mine, theirs = layout.shared_words(self._records[group])
            found = layout, theirs[np.argsort(mine)]
            if len(self._known) >= LAYOUTS_KEPT:
                self._known.clear()
            self._known[group, columns] = found
        return found


def _by_columns(body: RankRequest, carrying: Iterable[int]) -> dict[frozenset[str], list[int]]:
    """Candidates that carry the same columns, together."""
    groups: dict[frozenset[str], list[int]] = {}
    for place in carrying:
        groups.setdefault(frozenset(body.candidates[place]["features"]), []).append(place)
    return groups


def _doubles(body: RankRequest) -> Iterable[Mistake]:
    first: dict[str, int] = {}
    for index, candidate in enumerate(body.candidates):
        before = first.setdefault(candidate["id"], index)
        if before != index:
            place = json_pointer(("candidates", index, "id"))
            yield Mistake(place, f"expected each video once, found /candidates/{before}/id again")


def _unknown(features: Columns, known: frozenset[str], where: Path) -> Iterable[Mistake]:
    for name in features:
        if name not in known:
            expected = ", ".join(sorted(known)) or "none: the model uses no such feature"
            yield Mistake(json_pointer((*where, name)), f"expected one of the model's columns ({expected})")


def _place_of(body: RankRequest, error: FeatureError) -> Mistake:
    """Where the request carries a value of its own that the model refused."""
    column, query_column = error.feature, error.feature.removeprefix(QUERY_PREFIX)
    where: Path = ("query_features", query_column)
    if column == USER_ID:
        where = ("user", "id")
    elif column == QUERY_VIDEO_ID:
        where = ("query_video_id",)
    elif column in body.context:
        where = ("context", column)
    elif column in body.user.features:
        where = ("user", "features", column)
    return Mistake(json_pointer(where), message(error))


def message(error: FeatureError) -> str:
    """What is wrong with a value, without its place, which requests name in their own way."""
    return str(error).removeprefix(f"{error.feature}: ").removesuffix(f" in row {error.row}")
