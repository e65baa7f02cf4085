"""From columns to tensors: the one path that a training batch and a request share.

Columns become records of fixed width (`record`), records become tensors (`reader`). The service keeps the
records of videos and viewers, so that a request begins at the second half.

Shape letters: R rows, W words of a record.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ranker.errors import FeatureError
from ranker.events import SERVED_FEATURES, TIME_MS
from ranker.features.batch import Encoded, GroupInputs
from ranker.features.forgetting import Beside, rows_with
from ranker.features.id_rows import FreshRows, IdRows
from ranker.features.key_loops import Times
from ranker.features.key_table import Arrays
from ranker.features.kinds.category import CategoryFeature
from ranker.features.kinds.column import ColumnFeature
from ranker.features.layout import Layout
from ranker.features.reader import GroupRead, GroupReader
from ranker.features.record import RecordLayout, Words
from ranker.features.sides import SIDES, Group, Side
from ranker.features.standardise import Standardiser, Statistics
from ranker.features.state.feature_state import FeatureState, Labels
from ranker.features.state.reading import Known
from ranker.features.state.served import ServedFeatures
from ranker.features.values import FeatureValue, canonical
from ranker.features.vocabularies import Vocabularies
from ranker.spec import RankerSpec

_IDS: Final = "ids/"
"""What the names of the ids' arrays begin with, beside those of the feature state."""


class EncoderState(BaseModel):
    """What the encoder has learned from rows: with its arrays, a part of checkpoints and bundles."""

    model_config = ConfigDict(extra="forbid")

    vocabularies: dict[str, list[str]]
    statistics: dict[Group, Statistics]


@dataclass(frozen=True)
class Examples:
    """Rows of a log, encoded; what an encoder may learn of them.

    Attributes:
        batch: The rows.
        words: (B, W) their records.
        known: What the state knew of each group's rows, at each row's time.
        groups: What each group's reader found.
        bias: (B, number of bias features) categories.
        reversible: Whether `take_back` can undo what the state took in.
    """

    batch: pa.RecordBatch
    words: Words
    known: dict[Group, Known]
    groups: dict[Group, GroupRead]
    bias: NDArray[np.int64]
    reversible: bool

    @property
    def encoded(self) -> Encoded:
        """What the network takes."""
        groups = {group: read.inputs for group, read in self.groups.items()}
        return Encoded(groups, torch.from_numpy(self.bias))


class Encoder:
    """Turns Arrow columns or a request's JSON values into tensors.

    Args:
        spec: Names the features; the encoder reads the columns that it names and no others.

    Attributes:
        records: For each group, what its features' columns look like in a request's records: those of the
            group, and of the pairs also the parts of their combinations.
        example_records: What records of whole rows look like.
        feature_state: What is known of viewers, videos and pairs. It may be replaced by a newer one of the
            same spec between two requests.
        served_features: How what is known of a row is kept, for rows that carry it.
        served_rows: Rows that were read as they carry it.
        served_otherwise: Those of them of which the state knew something else.
    """

    def __init__(self, spec: RankerSpec) -> None:
        self.spec = spec
        self.layout = Layout(spec)
        columns = spec.side(*Side)
        self._standardisers = {group: Standardiser(len(self.layout.numbers(group))) for group in Group}
        self.feature_state = FeatureState(spec, self.layout)
        self._vocabularies = Vocabularies(
            [f for f in columns if isinstance(f, CategoryFeature)], seed=spec.hash_seed
        )
        self._ids = IdRows(self.layout)
        self.example_records = RecordLayout(
            (*columns, *(part for group in Group for part in self.layout.columns(group))), seed=spec.hash_seed
        )
        self._example_readers = {group: self._reader(group, self.example_records) for group in Group}
        self.records = {
            group: RecordLayout(self.layout.columns(group), seed=spec.hash_seed) for group in Group
        }
        self._readers = {group: self._reader(group, self.records[group]) for group in Group}
        records, no_time = self.example_records, np.empty(0, np.int64)
        none = {g: self.feature_state.look_up(g, records.missing(0), records, no_time) for g in Group}
        self.served_features = ServedFeatures(self.feature_state.digest, self.layout, none)
        self.served_rows = self.served_otherwise = 0

    def read_examples(
        self, batch: pa.RecordBatch, labels: Labels | None = None, *, reversible: bool = False
    ) -> Examples:
        """Encode rows of a log; only the feature state goes on.

        Args:
            batch: B rows with the spec's feature columns, and `time_ms` if any learns from the stream or has
                ids with rows of their own.
            labels: (B, F) of the tasks and the further labels, in natural units, NaN where missing: the state
                goes on through these rows, each of which sees what was known at its time. Without them it
                stands still.
            reversible: Whether `take_back` may follow in place of `learn`; it costs a few percent of the
                state's time.

        Returns:
            All groups with B rows, and the bias features.

        Raises:
            FeatureError: A column has the wrong type; the message names it.
        """
        words = self.example_records.of_batch(batch)
        bias = self._vocabularies.categories(
            [feature.name for feature in self.layout.bias],
            words[:, [self.example_records.first_word(feature) for feature in self.layout.bias]],
        )
        known = self._known(words, batch, labels, reversible=reversible)
        if SERVED_FEATURES in batch.schema.names and not self.served_features.is_nothing:
            carried = _carried(batch.column(SERVED_FEATURES))
            rows, otherwise = self.served_features.put(carried, known)
            self.served_rows += rows
            self.served_otherwise += otherwise
        groups = {group: reader.read(words, known[group]) for group, reader in self._example_readers.items()}
        return Examples(batch, words, known, groups, bias, reversible)

    def read_words(self, words: Words, known: Mapping[Group, Known]) -> Encoded:
        """Encode records of whole rows with what a state knew of them; nothing is learned.

        Args:
            words: (R, W) in the layout `example_records`, as another encoder of the same features made them.
            known: Of each group's rows.
        """
        readers = self._example_readers.items()
        return Encoded({group: reader.read(words, known[group]).inputs for group, reader in readers}, None)

    def learn(self, examples: Examples) -> FreshRows:
        """Take rows into vocabularies, rows of ids and statistics.

        They are used from the next batch on: a row is always encoded with what earlier batches told.

        Args:
            examples: What `read_examples` gave.

        Returns:
            The rows of the fused tables that were given to new ids; they hold the embeddings of others.
        """

        def text(feature: ColumnFeature) -> pa.Array:
            return canonical(examples.batch.column(feature.source_column), feature)

        for group, reader in self._example_readers.items():
            reader.observe(examples.groups[group], text)
        self._vocabularies.observe([feature.name for feature in self.layout.bias], examples.bias, text)
        if not self._ids.learns:
            return {}
        times = examples.batch.column(TIME_MS).to_numpy()
        return self._ids.observe(examples.words, self.example_records, times)

    def take_back(self, examples: Examples) -> None:
        """Let everything be as it was before rows were read.

        Args:
            examples: What the latest `read_examples` gave, reversible, of which nothing was learned.
        """
        assert examples.reversible
        if self.spec.state_features:
            self.feature_state.take_back()

    def encode_examples(
        self, batch: pa.RecordBatch, *, observe: bool = False, labels: Labels | None = None
    ) -> Encoded:
        """Encode rows of a log for good: `read_examples`, and with `observe` also `learn`."""
        examples = self.read_examples(batch, labels)
        if observe:
            self.learn(examples)
        return examples.encoded

    def replay(self, batch: pa.RecordBatch, labels: Labels) -> None:
        """Let the state go on through rows of a log without encoding them; see `encode_examples`."""
        self._known(self.example_records.of_batch(batch), batch, labels)

    def forget(self, column: str, name: str, beside: Beside) -> None:
        """Let the feature state know nothing of a deleted viewer or video, as far as `rows_with` finds it.

        What was known of it together with anything else stays until the least recently used make room.

        Args:
            column: `user_id` or `video_id`.
            name: The id.
            beside: Videos that a viewer may be known with.
        """
        values = self._vocabularies.state()
        categories = {
            f.source_column: values[f.name] for f in self.spec.side(Side.CONTEXT) if f.name in values
        }
        words, without = rows_with(column, name, self.example_records, beside, categories)
        self.feature_state.forget(words, without, self.example_records)

    def forget_row(self, column: str, name: str) -> None:
        """Let a deleted id share the embedding of ids that were never seen, if it has a row of its own."""
        self._ids.forget(*rows_with(column, name, self.example_records), self.example_records)

    def with_own_state(self) -> Self:
        """The same encoder with a copy of the feature state, which may go on without changing this one's.

        Vocabularies, statistics and rows of ids are this one's, as long as the copy is not told to observe.
        """
        apart = copy.copy(self)
        apart.feature_state = FeatureState(self.spec, self.layout)
        apart.feature_state.load(self.feature_state.state())
        return apart

    def encode_request(
        self,
        request: Mapping[str, FeatureValue],
        candidates: Sequence[Mapping[str, FeatureValue]],
        *,
        time_ms: int = 0,
    ) -> Encoded:
        """Encode a request and its candidates.

        Args:
            request: Values of the user, query and context columns; an absent one is missing.
            candidates: For each candidate, values of the candidate and pair columns.
            time_ms: When the request is made, and the feature state read; of no meaning to a spec without
                features that learn from the stream.

        Returns:
            One row for the request, one a candidate for the other groups, no bias features.

        Raises:
            FeatureError: A value has the wrong type; the error names the column and the candidate's row.
        """
        request_parts = [
            f.source_column for f in self.layout.columns(Group.PAIR) if f.side in SIDES[Group.REQUEST]
        ]
        same_for_all = {name: request.get(name) for name in request_parts}
        rows: dict[Group, Sequence[Mapping[str, FeatureValue]]] = {
            Group.REQUEST: [request],
            Group.CANDIDATE: candidates,
            Group.PAIR: [{**candidate, **same_for_all} for candidate in candidates],
        }
        groups = {g: self.read(g, self.records[g].of_rows(rows[g]), time_ms) for g in Group}
        return Encoded(groups, bias=None)

    def read(self, group: Group, words: Words, time_ms: int | Times = 0) -> GroupInputs:
        """Read records of a group and what the state knows of them.

        Args:
            group: The group.
            words: (R, W) in the layout `records[group]`.
            time_ms: When the request is made, or (R,) of each row.
        """
        return self.read_known(group, words, time_ms)[0]

    def read_known(self, group: Group, words: Words, time_ms: int | Times) -> tuple[GroupInputs, Known]:
        """The same, and what the state knows of the rows."""
        times = np.full(len(words), time_ms, np.int64)
        known = self.feature_state.look_up(group, words, self.records[group], times)
        return self._readers[group].read(words, known).inputs, known

    def state(self) -> EncoderState:
        """Vocabularies and statistics as they are now."""
        return EncoderState(
            vocabularies=self._vocabularies.state(),
            statistics={group: s.state() for group, s in self._standardisers.items()},
        )

    def load(self, state: EncoderState) -> None:
        """Go on from a saved state."""
        self._vocabularies.load(state.vocabularies)
        for group, statistics in state.statistics.items():
            self._standardisers[group].load(statistics)

    def arrays(self) -> Arrays:
        """The rest of what the encoder has learned, as named arrays: the feature state and the ids' rows."""
        ids = {f"{_IDS}{name}": array for name, array in self._ids.state().items()}
        return {**self.feature_state.state(), **ids}

    def load_arrays(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from saved arrays."""
        self.feature_state.load(arrays)
        self._ids.load({n.removeprefix(_IDS): a for n, a in arrays.items() if n.startswith(_IDS)})

    def _known(
        self, words: Words, batch: pa.RecordBatch, labels: Labels | None, *, reversible: bool = False
    ) -> dict[Group, Known]:
        records = self.example_records
        if not self.spec.state_features:
            return {group: Known.nothing(len(words)) for group in Group}
        times = batch.column(TIME_MS).to_numpy()
        if labels is None:
            return {group: self.feature_state.look_up(group, words, records, times) for group in Group}
        return self.feature_state.replay(words, records, times, labels, reversible=reversible)

    def _reader(self, group: Group, records: RecordLayout) -> GroupReader:
        return GroupReader(
            group, self.layout, records, self._vocabularies, self._ids, self._standardisers[group]
        )


def _carried(column: pa.Array) -> list[bytes | None]:
    """What rows carry of the feature state."""
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise FeatureError(
            f"column '{SERVED_FEATURES}': expected binary values, found {column.type}",
            feature=SERVED_FEATURES,
        )
    carried: list[bytes | None] = column.to_pylist()
    return carried
