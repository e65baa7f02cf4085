"""The features that a request itself carries: checked, and encoded as words of records.

Shape letters: R records that carry the same columns, W words of a record.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.did_you_mean import did_you_mean
from ranker.errors import FeatureError, InvalidRequestError, Mistake
from ranker.events import QUERY_PREFIX, QUERY_VIDEO_ID, USER_ID, VIDEO_ID
from ranker.features.encoder import Encoder
from ranker.features.kinds.column import ColumnFeature
from ranker.features.record import RecordLayout, Words
from ranker.features.sides import SIDES, Group, Side
from ranker.features.values import FeatureValue
from ranker.stream.texts import IDS
from serving.http.json_pointer import json_pointer
from serving.http.mistakes import Mistakes, Path
from serving.http.turns import Steps, at_once
from serving.requests import RankRequest

Columns = Mapping[str, FeatureValue]
MAX_CACHED_LAYOUTS: Final = 256
"""Sets of carried columns whose layouts are cached; callers send the same few again and again."""


@dataclass(frozen=True)
class WordOverride:
    """Words of some records that a request carries, in place of what is stored.

    Attributes:
        rows: (R,) which records.
        columns: Which of their W words.
        words: (R, len(columns)).
    """

    rows: list[int]
    columns: NDArray[np.int64]
    words: Words

    def apply_to(self, records: Words) -> None:
        """Overwrite these words of a group's records, (rows of the group, W), in place."""
        if len(self.rows) == 1:
            records[self.rows[0], self.columns] = self.words[0]
        else:
            records[np.ix_(np.array(self.rows), self.columns)] = self.words


@dataclass(frozen=True)
class RequestFeatures:
    """What a request carries, by the group whose records it overrides."""

    request: tuple[WordOverride, ...] = ()
    candidates: tuple[WordOverride, ...] = ()
    pairs: tuple[WordOverride, ...] = ()


class RequestReader:
    """Checks which of a spec's columns a request carries and where, and encodes their values.

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
        self._layouts: dict[tuple[Group, frozenset[str]], tuple[RecordLayout, NDArray[np.int64]]] = {}

    def read(self, body: RankRequest) -> RequestFeatures:
        """Check a request and encode what it carries, without interruption; see `steps`."""
        return at_once(self.steps(body))

    def steps(self, body: RankRequest, texts: dict[int, str] | None = None) -> Steps[RequestFeatures]:
        """Check a request and encode what it carries.

        Args:
            body: The request.
            texts: Takes the texts behind hashed words that it carries, but for ids; None to keep none.

        Raises:
            InvalidRequestError: It carries columns that the model does not have, values of the wrong type, or
                a candidate twice; the error points at every mistake.
        """
        yield from self._check(body)
        request = {
            **body.user.features,
            **{QUERY_PREFIX + name: value for name, value in body.query_features.items()},
            **body.context,
            USER_ID: body.user.id,
            QUERY_VIDEO_ID: body.query_video_id,
        }
        try:
            own = self._overrides(Group.REQUEST, [request], [0], texts)
        except FeatureError as error:
            raise InvalidRequestError([_request_mistake(body, error)]) from error
        carrying = [index for index, candidate in enumerate(body.candidates) if candidate.get("features")]
        if not carrying:
            return RequestFeatures(own)
        candidates: list[WordOverride] = []
        pairs: list[WordOverride] = []
        for columns, indices in _by_columns(body, carrying).items():
            yield
            features = [body.candidates[index]["features"] for index in indices]
            try:
                if columns & self._own[Group.CANDIDATE]:
                    candidates += self._overrides(Group.CANDIDATE, features, indices, texts)
                if self._columns[Group.PAIR]:
                    pairs += self._overrides(Group.PAIR, features, indices, texts)
            except FeatureError as error:
                pointer = json_pointer(("candidates", indices[error.row or 0], "features", error.feature))
                raise InvalidRequestError([Mistake(pointer, without_location(error))]) from error
        return RequestFeatures(own, tuple(candidates), tuple(pairs))

    def _check(self, body: RankRequest) -> Steps[None]:
        mistakes = Mistakes()
        _unknown_columns(mistakes, body.user.features, self._user, ("user", "features"))
        _unknown_columns(mistakes, body.query_features, self._query, ("query_features",))
        _unknown_columns(mistakes, body.context, self._context, ("context",))
        for index, candidate in enumerate(body.candidates):
            if "features" in candidate:
                path = ("candidates", index, "features")
                _unknown_columns(mistakes, candidate["features"], self._of_candidate, path)
                if mistakes.are_many:
                    break
                yield
        if len({candidate["id"] for candidate in body.candidates}) < len(body.candidates):
            _duplicates(mistakes, body)
        if mistakes:
            raise mistakes.error()

    def _overrides(
        self, group: Group, features: Sequence[Columns], rows: list[int], texts: dict[int, str] | None
    ) -> tuple[WordOverride, ...]:
        """Encode values of the same columns for some rows of a group; at most one override."""
        layout, columns = self._layout(group, frozenset(features[0]))
        if not layout.words:
            return ()
        if texts is None:
            return (WordOverride(rows, columns, layout.of_rows(features)),)
        words, carried = layout.of_rows_with_texts(features, without=IDS)
        texts.update(carried)
        return (WordOverride(rows, columns, words),)

    def _layout(self, group: Group, columns: frozenset[str]) -> tuple[RecordLayout, NDArray[np.int64]]:
        """A layout of these columns alone, and the index of each of its words in the group's records."""
        cached = self._layouts.get((group, columns))
        if cached is None:
            features: list[ColumnFeature] = [f for f in self._columns[group] if f.source_column in columns]
            layout = RecordLayout(features, seed=self._spec.hash_seed)
            mine, theirs = layout.shared_words(self._records[group])
            cached = layout, theirs[np.argsort(mine)]
            if len(self._layouts) >= MAX_CACHED_LAYOUTS:
                self._layouts.clear()
            self._layouts[group, columns] = cached
        return cached


def _by_columns(body: RankRequest, carrying: Iterable[int]) -> dict[frozenset[str], list[int]]:
    """Indices of candidates, grouped by the columns that they carry."""
    groups: dict[frozenset[str], list[int]] = {}
    for index in carrying:
        groups.setdefault(frozenset(body.candidates[index]["features"]), []).append(index)
    return groups


def _duplicates(mistakes: Mistakes, body: RankRequest) -> None:
    first: dict[str, int] = {}
    for index, candidate in enumerate(body.candidates):
        before = first.setdefault(candidate["id"], index)
        if before != index:
            path = ("candidates", index, "id")
            mistakes.add(path, f"expected each video once, found /candidates/{before}/id again")


def _unknown_columns(mistakes: Mistakes, features: Columns, known: frozenset[str], path: Path) -> None:
    if features.keys() <= known:
        return
    detail = expected_columns(known)
    for name in features:
        if name not in known:
            meant = did_you_mean(name, known) if mistakes.are_named else ""
            mistakes.add((*path, name), detail + meant)


def expected_columns(known: Iterable[str]) -> str:
    """What a mistake says of a column that the model does not have."""
    columns = ", ".join(sorted(known)) or "none: the model uses no such feature"
    return f"expected one of the model's columns ({columns})"


def _request_mistake(body: RankRequest, error: FeatureError) -> Mistake:
    """Point at the value of the request itself, not of a candidate, that the model refused."""
    column, query_column = error.feature, error.feature.removeprefix(QUERY_PREFIX)
    path: Path = ("query_features", query_column)
    if column == USER_ID:
        path = ("user", "id")
    elif column == QUERY_VIDEO_ID:
        path = ("query_video_id",)
    elif column in body.context:
        path = ("context", column)
    elif column in body.user.features:
        path = ("user", "features", column)
    return Mistake(json_pointer(path), without_location(error))


def without_location(error: FeatureError) -> str:
    """The error's message without column and row, which a request points at with a JSON pointer instead."""
    return str(error).removeprefix(f"{error.feature}: ").removesuffix(f" in row {error.row}")
