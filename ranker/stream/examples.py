"""From joined impressions to examples: rows in the columns that `--data` reads.

Shape letters: N videos of an impression, R rows, W words of a record.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranker.events import POSITION, QUERY_VIDEO_ID, SERVED_FEATURES, TIME_MS, USER_ID, VIDEO_ID
from ranker.features.kinds.column import Form
from ranker.features.sides import Side
from ranker.spec import RankerSpec
from ranker.stream.impressions import Impression
from ranker.stream.joined import Joined
from ranker.stream.layouts import TYPES, Layouts, columns_of
from ranker.stream.texts import IDS, Texts, by_word

ABOUT: Final = pa.schema(
    [
        ("request_id", pa.string()),
        ("entry_id", pa.string()),
        ("score", pa.float64()),
        ("propensity", pa.float64()),
        ("model_version", pa.string()),
        ("score_policy", pa.string()),
        ("score_version", pa.string()),
    ]
)
"""What is kept of each row beside features and labels, unless the spec has a column of that name."""


class ExampleReader:
    """Turns joined impressions into record batches of one schema.

    Args:
        spec: Names the columns; one that no impression has is null throughout.
        layouts: How impressions are laid out.
        texts: Has the texts behind hashes.

    Attributes:
        schema: Of the batches.
    """

    def __init__(self, spec: RankerSpec, layouts: Layouts, texts: Texts) -> None:
        self._layouts = layouts
        self._texts = texts
        fields = {
            TIME_MS: pa.int64(),
            USER_ID: pa.string(),
            QUERY_VIDEO_ID: pa.string(),
            VIDEO_ID: pa.string(),
            POSITION: pa.int64(),
        }
        for feature in spec.side(*Side):
            kind = TYPES[feature.form]
            if feature.source_column not in fields or (
                feature.form is Form.NUMBER and fields[feature.source_column] == TYPES[Form.KEY]
            ):
                fields[feature.source_column] = kind
        self._labels = [label.source_column for label in spec.feedback]
        fields |= dict.fromkeys(self._labels, pa.float32())
        self._features = [name for name in fields if name not in (*IDS, TIME_MS, POSITION, *self._labels)]
        about = [field for field in ABOUT if field.name not in fields]
        self.schema = pa.schema([*fields.items(), *about, (SERVED_FEATURES, pa.binary())])

    def read(self, joined: Iterable[Joined]) -> pa.RecordBatch:
        """The rows of some impressions, in their order: one for each video that was seen, by position.

        Raises:
            EventLogError: A layout or a text is not kept.
            StoreError: Redis does not answer.
        """
        batches = [
            self._read(list(alike)) for _, alike in groupby(joined, lambda one: one.impression.header.layouts)
        ]
        return pa.concat_batches(batches or [pa.RecordBatch.from_pylist([], self.schema)])

    def _read(self, joined: Sequence[Joined]) -> pa.RecordBatch:
        """The rows of impressions of the same layouts."""
        impressions = [one.impression for one in joined]
        headers = [impression.header for impression in impressions]
        counts = [len(header.video_ids) for header in headers]
        owner = np.repeat(np.arange(len(joined)), counts)
        positions = np.concatenate([one.positions for one in joined])
        seen = positions > 0

        def of_request(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
            return pa.array(values, kind).take(pa.array(owner[seen]))

        def of_video(values: Iterable[Sequence[Any] | None], kind: pa.DataType) -> pa.Array:
            flat = [
                value
                for given, count in zip(values, counts, strict=True)
                for value in (given if given is not None else [None] * count)
            ]
            return pa.array(flat, kind).filter(pa.array(seen))

        columns = self._features_of(impressions, owner, seen)
        columns |= {
            TIME_MS: of_request([one.time_ms for one in joined], pa.int64()),
            USER_ID: of_request([header.user_id for header in headers], pa.string()),
            QUERY_VIDEO_ID: of_request([header.query_video_id for header in headers], pa.string()),
            VIDEO_ID: of_video((header.video_ids for header in headers), pa.string()),
            POSITION: pa.array(positions[seen]),
        }
        labels = np.concatenate([one.labels for one in joined])[seen]
        for column, name in enumerate(self._labels):
            label = np.ascontiguousarray(labels[:, column])
            columns[name] = pa.array(label, mask=np.isnan(label))
        about: dict[str, Callable[[], pa.Array]] = {
            SERVED_FEATURES: lambda: of_video((one.served_rows() for one in impressions), pa.binary()),
            "request_id": lambda: of_request([header.request_id for header in headers], pa.string()),
            "entry_id": lambda: of_request([str(one.id) for one in joined], pa.string()),
            "score": lambda: of_video((header.scores for header in headers), pa.float64()),
            "propensity": lambda: of_video(
                (header.propensities or [1.0] * len(header.video_ids) for header in headers), pa.float64()
            ),
            "model_version": lambda: of_request([header.model_version for header in headers], pa.string()),
            "score_policy": lambda: of_request([header.score_policy for header in headers], pa.string()),
            "score_version": lambda: of_request([header.score_version for header in headers], pa.string()),
        }
        rows = int(np.count_nonzero(seen))
        arrays = [
            columns[name] if name in columns else about[name]() if name in about else pa.nulls(rows, kind)
            for name, kind in zip(self.schema.names, self.schema.types, strict=True)
        ]
        batch = pa.RecordBatch.from_arrays(
            [
                array.cast(kind) if array.type != kind else array
                for array, kind in zip(arrays, self.schema.types, strict=True)
            ],
            schema=self.schema,
        )
        order = np.lexsort((positions[seen], owner[seen]))
        return batch if np.array_equal(order, np.arange(rows)) else batch.take(pa.array(order))

    def _features_of(
        self, impressions: Sequence[Impression], owner: NDArray[np.int64], seen: NDArray[np.bool_]
    ) -> dict[str, pa.Array]:
        """The columns of features: of pairs before those of videos before those of requests."""
        digests = impressions[0].header.layouts
        carried = by_word((text for one in impressions for text in one.header.texts), self._texts.seed)
        request, videos, pairs = (
            columns_of(
                [part for part in self._layouts.of(digest) if part.column in self._features],
                np.concatenate([getattr(impression, name) for impression in impressions]),
                self._texts,
                carried,
            )
            for digest, name in zip(digests, ("request", "videos", "pairs"), strict=True)
        )
        own, chosen = pa.array(owner[seen]), pa.array(seen)
        return {
            **{name: column.take(own) for name, column in request.items()},
            **{name: column.filter(chosen) for name, column in videos.items()},
            **{name: column.filter(chosen) for name, column in pairs.items()},
        }
