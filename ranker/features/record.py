"""Records of fixed width: what is known of a row, a viewer or a video, as 64-bit words.

A record holds everything that the network will read, in a form that depends on the spec alone and not on
what was learned: 64-bit hashes of ids and categories, numbers as they are. So it is made once, when a log is
read or a video is stored, and every later bundle of the same spec reads it without looking at a string.

    id, category   one word: the hash, 0 where missing
    number         one word: the bits of a float64, NaN where missing
    ids            1 + `max_items` words: how many (all ones where the list is missing), then their hashes

Shape letters: R rows, W words.
"""

import hashlib
import json
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ranker.errors import FeatureError
from ranker.features.hashing import MAX_BYTES, hash_strings
from ranker.features.kinds.column import ColumnFeature, Form
from ranker.features.values import FeatureValue, canonical, column_of

Words = NDArray[np.uint64]
MISSING_KEY: Final = np.uint64(0)
"""In place of the hash of a missing id or category; no value has it."""
MISSING_LIST: Final = np.uint64(2**64 - 1)
"""In place of the length of a missing list."""
FORMAT: Final = 1
"""Raised whenever the meaning of a word changes."""


class Part(NamedTuple):
    """Words of a record that hold a column.

    Attributes:
        column: Its name.
        form: How its values are kept.
        first: Its first word.
        words: How many it has.
    """

    column: str
    form: Form
    first: int
    words: int


class RecordLayout:
    """Which word of a record holds what.

    Columns that several features read in the same way are there once.

    Args:
        features: Whose columns the records hold.
        seed: Of the hash.

    Attributes:
        seed: Of the hash.
        words: W.
    """

    def __init__(self, features: Iterable[ColumnFeature], *, seed: int) -> None:
        self.seed = seed
        self._fields: dict[tuple[str, str], ColumnFeature] = {}
        for feature in features:
            self._fields.setdefault(_field(feature), feature)
        self._first: dict[tuple[str, str], int] = {}
        self.words = 0
        for name, feature in self._fields.items():
            self._first[name] = self.words
            self.words += feature.words

    def first_word(self, feature: ColumnFeature) -> int:
        """The first word that holds a feature's column."""
        return self._first[_field(feature)]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the records hold, each once."""
        return tuple(dict.fromkeys(column for column, _ in self._fields))

    @property
    def digest(self) -> str:
        """Names the layout: records may be read with it if and only if they were written with the same."""
        described = json.dumps([FORMAT, self.seed, list(self._first.items())])
        return hashlib.sha256(described.encode()).hexdigest()[:12]

    @property
    def parts(self) -> list[Part]:
        """What stands where, one part after the other."""
        return [
            Part(column, feature.form, self._first[column, form], feature.words)
            for (column, form), feature in self._fields.items()
        ]

    def texts_of_batch(self, batch: pa.RecordBatch, *, without: Container[str] = ()) -> dict[int, str]:
        """The texts behind hashed words of a log's rows, by word, but for some columns; see `of_batch`."""
        return self._texts(
            {
                name: canonical(batch.column(feature.source_column), feature)
                for name, feature in self._fields.items()
                if feature.form is not Form.NUMBER and feature.source_column not in without
            }
        )

    def missing(self, count: int) -> Words:
        """(count, W): records of which nothing is known."""
        words = np.full((count, self.words), MISSING_KEY)
        for name, feature in self._fields.items():
            if feature.form is Form.BAG:
                words[:, self._first[name]] = MISSING_LIST
            elif feature.form is Form.NUMBER:
                words[:, self._first[name]] = np.float64(np.nan).view(np.uint64)
        return words

    def shared_words(
        self, other: "RecordLayout", *, prefix: str = ""
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the same columns stand in two layouts.

        Args:
            other: The other layout.
            prefix: What this layout's columns are called by in front, such as `query_`; others are left out.

        Returns:
            The words of this layout, and for each the word of the other one.
        """
        mine: list[int] = []
        theirs: list[int] = []
        for (column, form), feature in self._fields.items():
            name = (column.removeprefix(prefix), form)
            if column.startswith(prefix) and name in other._first:
                width = feature.words
                mine += range(self._first[column, form], self._first[column, form] + width)
                theirs += range(other._first[name], other._first[name] + width)
        return np.array(mine, np.int64), np.array(theirs, np.int64)

    def of_batch(self, batch: pa.RecordBatch) -> Words:
        """Make records of a log's rows.

        Args:
            batch: R rows with all columns.

        Returns:
            (R, W).

        Raises:
            FeatureError: A column has the wrong type or an id is too long; the message names it.
        """
        columns = {
            name: canonical(batch.column(feature.source_column), feature)
            for name, feature in self._fields.items()
        }
        return self._of_columns(columns, self._hash(self._strings(columns), columns), batch.num_rows)

    def of_rows(self, rows: Sequence[Mapping[str, FeatureValue]]) -> Words:
        """Make records of JSON values.

        Args:
            rows: R rows; an absent column is missing, further columns are not looked at.

        Returns:
            (R, W).

        Raises:
            FeatureError: A value has the wrong type; the error names the column and the row.
        """
        return self.of_rows_with_texts(rows, without=self.columns)[0]

    def of_rows_with_texts(
        self, rows: Sequence[Mapping[str, FeatureValue]], *, without: Container[str] = ()
    ) -> tuple[Words, dict[int, str]]:
        """`of_rows`, and the texts behind the hashed words, by word, but for some columns."""

        def column(feature: ColumnFeature) -> pa.Array:
            return column_of([row.get(feature.source_column) for row in rows], feature)

        columns = {name: column(feature) for name, feature in self._fields.items()}
        strings = self._strings(columns)
        keys = self._hash(strings, columns)
        told = {name: values for name, values in strings.items() if name[0] not in without}
        return self._of_columns(columns, keys, len(rows)), _texts_by_word(told, keys)

    def _strings(self, columns: dict[tuple[str, str], pa.Array]) -> dict[tuple[str, str], pa.Array]:
        """What is hashed of some columns: all values but numbers, and the items of lists."""
        return {
            name: values.flatten() if self._fields[name].form is Form.BAG else values
            for name, values in columns.items()
            if self._fields[name].form is not Form.NUMBER
        }

    def _of_columns(
        self, columns: dict[tuple[str, str], pa.Array], keys: dict[tuple[str, str], Words], count: int
    ) -> Words:
        words = self.missing(count)
        for name, values in columns.items():
            feature, first = self._fields[name], self._first[name]
            if feature.form is Form.NUMBER:
                words[:, first] = values.to_numpy(zero_copy_only=False).view(np.uint64)
            elif feature.form is Form.BAG:
                _fill_bags(words[:, first : first + feature.words], values, keys[name])
            else:
                words[:, first] = keys[name]
        return words

    def _texts(self, columns: dict[tuple[str, str], pa.Array]) -> dict[int, str]:
        if not columns:
            return {}
        strings = [
            values.flatten() if self._fields[name].form is Form.BAG else values
            for name, values in columns.items()
        ]
        distinct = pa.concat_arrays(strings).unique().drop_null()
        self._check_lengths(distinct, columns)
        return dict(zip(self._hash_distinct(distinct).tolist(), distinct.to_pylist(), strict=True))

    def _hash(
        self, strings: dict[tuple[str, str], pa.Array], columns: dict[tuple[str, str], pa.Array]
    ) -> dict[tuple[str, str], Words]:
        """Hash the strings of all columns at once, each different one once: most values come many times."""
        if not strings:
            return {}
        distinct = pa.concat_arrays(list(strings.values())).dictionary_encode()
        self._check_lengths(distinct.dictionary, columns)
        table = np.append(self._hash_distinct(distinct.dictionary), MISSING_KEY)
        keys = table[pc.fill_null(distinct.indices, len(table) - 1).to_numpy()]
        ends = np.cumsum([len(values) for values in strings.values()])[:-1]
        return dict(zip(strings, np.split(keys, ends), strict=True))

    def _hash_distinct(self, strings: pa.StringArray) -> Words:
        """Words of strings; none is `MISSING_KEY`."""
        return np.maximum(hash_strings(strings, seed=self.seed), MISSING_KEY + np.uint64(1))

    def _check_lengths(self, distinct: pa.StringArray, columns: dict[tuple[str, str], pa.Array]) -> None:
        """Refuse ids that are too long; `distinct` has the strings of all columns."""
        if (pc.max(pc.binary_length(distinct)).as_py() or 0) > MAX_BYTES:
            self._refuse_long_ids(columns)

    def _refuse_long_ids(self, columns: dict[tuple[str, str], pa.Array]) -> None:
        for name, values in columns.items():
            feature = self._fields[name]
            if feature.form is Form.NUMBER:
                continue
            bag = feature.form is Form.BAG
            lengths = pc.fill_null(pc.binary_length(values.flatten() if bag else values), 0).to_numpy()
            if len(lengths) and lengths.max() > MAX_BYTES:
                longest = int(lengths.argmax())
                row = pc.list_parent_indices(values)[longest].as_py() if bag else longest
                raise FeatureError(
                    f"{feature.source_column}: expected an id of at most {MAX_BYTES} bytes, "
                    f"found {lengths[longest]} in row {row}",
                    feature=feature.source_column,
                    row=row,
                )


def _field(feature: ColumnFeature) -> tuple[str, str]:
    """What makes two features read the same words: the column, and how it is kept."""
    return feature.source_column, feature.record_form


def _texts_by_word(
    strings: dict[tuple[str, str], pa.Array], keys: dict[tuple[str, str], Words]
) -> dict[int, str]:
    """Texts by their hashes."""
    return {
        word: text
        for name, values in strings.items()
        for word, text in zip(keys[name].tolist(), values.to_pylist(), strict=True)
        if text is not None
    }


def _fill_bags(words: Words, lists: pa.Array, keys: Words) -> None:
    """Write lists into their words: (R, 1 + most); what is past `max_items` is left out."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    kept = np.minimum(lengths, words.shape[1] - 1)
    valid = lists.is_valid().to_numpy(zero_copy_only=False)
    words[valid, 0] = kept[valid].astype(np.uint64)
    rows = np.repeat(np.arange(len(lists)), kept)
    offsets = np.arange(len(rows)) - np.repeat(np.cumsum(kept) - kept, kept)
    words[rows, 1 + offsets] = keys[starts[rows] + offsets]
