"""From rows of a log at rest to requests for rankings, and what viewers did with them.

The rows of one viewer, time, query video and context are one request; their videos are its candidates. It
carries all that the rows say, so what is learned of it does not depend on what the feature store has.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa

from ranker.errors import SourceError
from ranker.events import POSITION, QUERY_PREFIX, QUERY_VIDEO_ID, TIME_MS, USER_ID, VIDEO_ID
from ranker.features.sides import Side
from ranker.labels.label import Label
from ranker.spec import RankerSpec
from ranker.stream.feedback import SHOWN

MAX_CANDIDATES: Final = 1_000
"""Videos of one request; the service takes no more."""
_NAME_BYTES: Final = 12
"""Bytes of the digest that names a row."""


class LoggedEvent(NamedTuple):
    """One thing that a viewer did with a video.

    Attributes:
        event_id: Derived from the row and the kind, so it is the same whenever the log is played back.
        video_id: The video.
        kind: A label, or `SHOWN`.
        value: The label in its unit, or the position.
        time_ms: When it is sent, by the time of the log, Unix epoch in milliseconds.
    """

    event_id: str
    video_id: str
    kind: str
    value: float
    time_ms: int

    def of_request(self, request_id: str) -> dict[str, Any]:
        """The event as `POST /v1/events` takes it."""
        return {**self._asdict(), "request_id": request_id}


@dataclass(eq=False)
class LoggedRequest:
    """One request of the log.

    Attributes:
        time_ms: When it was made, Unix epoch in milliseconds.
        about: What `POST /v1/rank` takes of it, without the candidates.
        candidates: Those by their ids.
        events: What the viewer did, and where each video was seen, in the order of their times.
    """

    time_ms: int
    about: Mapping[str, Any]
    candidates: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[LoggedEvent] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        """The body of `POST /v1/rank`."""
        return orjson.dumps({**self.about, "candidates": list(self.candidates.values())})


class RequestReader:
    """Turns the rows of a log into requests.

    The feedback that gives a label is sent when half of its `label_wait` is over, as a log at rest does not
    say when it came. A label that is what it would be without feedback is not sent.

    Args:
        spec: Says which columns are known of whom, and the labels.
        schema: Of the rows.

    Raises:
        SourceError: The rows lack a column that the spec needs.

    Attributes:
        rows: That were read so far.
        silent: Labels by name that the log does not have, though without feedback they count as 0; and in
            how many rows.
    """

    def __init__(self, spec: RankerSpec, schema: pa.Schema, *, where: str) -> None:
        spec.check_schema(schema, where=where)
        self._where = where
        self._user = spec.user_columns
        self._query = [f.source_column for f in spec.side(Side.QUERY) if f.source_column != QUERY_VIDEO_ID]
        self._context = list({f.source_column: None for f in spec.side(Side.CONTEXT)})
        own = {f.source_column: None for f in spec.side(Side.CANDIDATE, Side.PAIR)}
        self._candidate = [name for name in own if name != VIDEO_ID]
        self._labels = spec.feedback
        ids = [name for name in (USER_ID, VIDEO_ID, QUERY_VIDEO_ID, POSITION) if name in schema.names]
        features = (*self._user, *self._query, *self._context, *self._candidate)
        labels = [label.source_column for label in self._labels]
        self._columns = list(dict.fromkeys([TIME_MS, *ids, *features, *labels]))
        self.rows = 0
        self.silent: dict[str, int] = {}

    def requests(self, batches: Iterable[pa.RecordBatch]) -> Iterator[LoggedRequest]:
        """The requests of some rows, in the order of their times.

        Args:
            batches: The rows, oldest first.

        Raises:
            SourceError: A row has no video.
        """
        waiting: dict[bytes, list[LoggedRequest]] = {}  # those of one time
        reached_ms: int | None = None
        for batch in batches:
            columns = [_values(batch.column(name)) for name in self._columns]
            for values in zip(*columns, strict=True):
                row = dict(zip(self._columns, values, strict=True))
                if row[TIME_MS] != reached_ms:
                    for requests in waiting.values():
                        yield from requests
                    waiting, reached_ms = {}, row[TIME_MS]
                self._add(row, waiting)
        for requests in waiting.values():
            yield from requests

    def _add(self, row: Mapping[str, Any], waiting: dict[bytes, list[LoggedRequest]]) -> None:
        """Add a row to its request, or begin one."""
        if row[VIDEO_ID] is None:
            raise SourceError(f"{self._where}: expected a video in every row, found none in row {self.rows}")
        self.rows += 1
        about, video = self._about(row), str(row[VIDEO_ID])
        alike = waiting.setdefault(orjson.dumps(about), [])
        request = next(
            (r for r in alike if video not in r.candidates and len(r.candidates) < MAX_CANDIDATES), None
        )
        if request is None:
            request = LoggedRequest(row[TIME_MS], about)
            alike.append(request)
        request.candidates[video] = {"id": video, "features": {name: row[name] for name in self._candidate}}
        place = row.get(POSITION) or len(request.candidates)
        name = (
            f"{row[TIME_MS]} {row[USER_ID]} {row.get(QUERY_VIDEO_ID)} {video} {place} {alike.index(request)}"
        )
        digest = hashlib.blake2b(name.encode(), digest_size=_NAME_BYTES).hexdigest()
        request.events.append(LoggedEvent(f"{digest}-{SHOWN}", video, SHOWN, float(place), row[TIME_MS]))
        for label in self._labels:
            value = row[label.source_column]
            if value is None:
                if not math.isnan(label.absent_value):
                    self.silent[label.name] = self.silent.get(label.name, 0) + 1
            elif value != label.absent_value:
                due_ms = row[TIME_MS] + due_after_ms(label)
                request.events.append(
                    LoggedEvent(f"{digest}-{label.name}", video, label.name, float(value), due_ms)
                )

    def _about(self, row: Mapping[str, Any]) -> dict[str, Any]:
        about = {
            "user": {"id": row[USER_ID], "features": {name: row[name] for name in self._user}},
            "context": {name: row[name] for name in self._context},
            "time_ms": row[TIME_MS],
        }
        if row.get(QUERY_VIDEO_ID) is not None:
            about["query_video_id"] = row[QUERY_VIDEO_ID]
            about["query_features"] = {name.removeprefix(QUERY_PREFIX): row[name] for name in self._query}
        return about


def due_after_ms(label: Label) -> int:
    """How long after an impression feedback on it is sent, in milliseconds."""
    return round(label.label_wait * 1000) // 2


def _values(column: pa.Array) -> list[Any]:
    """A column as JSON has it: what is no number is null."""
    values: list[Any] = column.to_pylist()
    if pa.types.is_floating(column.type):
        return [value if value is not None and math.isfinite(value) else None for value in values]
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return [value and [item for item in value if item is not None] for value in values]
    return values
