"""The simulated world as a source: its log, with the true expectations that a real log does not have."""

from collections.abc import Iterator
from typing import Any, ClassVar, Final, Self

import numpy as np
import pyarrow as pa

from ranker.errors import SourceError
from ranker.event_times import TimeRange
from ranker.events import QUERY_PREFIX, QUERY_VIDEO_ID, TIME_MS, USER_ID, VIDEO_ID
from training.sources.base import Offset, SourceBatch, SourceKind
from training.sources.merge import rebatch
from training.sources.offsets import counted, rows_to_skip
from training.sources.simulated.population import (
    AGE_GROUPS,
    COUNTRIES,
    DAY_MS,
    DEVICES,
    EPOCH_MS,
    HOUR_MS,
    PAGE,
    TOPICS,
    Ints,
    Videos,
    Viewers,
    WorldConfig,
)
from training.sources.simulated.world import World

TRUTH_PREFIX: Final = "true_"
"""Prefix of the columns with a label's true expectation or a factor of it."""

_TABLE_ROWS = 8192
_CONTEXT = pa.schema(
    [
        (TIME_MS, pa.int64()),
        ("request_id", pa.int64()),
        (USER_ID, pa.int64()),
        (VIDEO_ID, pa.int64()),
        (QUERY_VIDEO_ID, pa.int64()),
        ("position", pa.int64()),
        ("device", pa.string()),
        ("hour", pa.int64()),
    ]
)
_LABELS = pa.schema(
    [
        ("click", pa.int8()),
        ("watch_time", pa.float32()),
        ("like", pa.int8()),
        ("dismiss", pa.int8()),
        ("rating", pa.int8()),
    ]
)
_TRUTH = pa.schema(
    [(TRUTH_PREFIX + name, pa.float32()) for name in ("examination", "relevance", *_LABELS.names)]
)


class SimulatedSource(SourceKind):
    """Days of the simulated world, from 2026-01-01T00:00Z on.

    Columns: `request_id`; `position` (1 to 10), `device`, and `hour` (UTC); the viewer's `age_group`,
    `country` and `register_days`; the video's `author_id`, `topics`, `duration_s`, `upload_time_ms` and
    `upload_day` (0 is the log's first), and again with the prefix `query_` for the query video; the labels
    click, like and dismiss (0 or 1), watch_time in seconds (0 without a click), and rating in stars (null
    where no survey was answered).

    For evaluation only: `true_examination` and `true_relevance`, whose product is `true_click`; `true_like`,
    `true_dismiss` and `true_watch_time`, the expectations of these labels at the position shown; and
    `true_rating`, the expected rating of a viewer who answers.
    """

    kind: ClassVar[str] = "simulated"
    layout: ClassVar[str | None] = None
    preset: ClassVar[str | None] = "simulated"

    def __init__(self, days: int = 10, seed: int = 0, config: WorldConfig | None = None) -> None:
        """Draw the viewers and videos; impressions are simulated as batches are read.

        Args:
            days: Length of the log. A longer log of the same seed and config begins with the shorter one.
            seed: Seed of the world.
            config: Sizes and effect strengths; the defaults if None.

        Raises:
            SourceError: `days` is below 1, or `seed` is negative.
        """
        self.name = f"simulated world, {days} days, seed {seed}"
        if days < 1 or seed < 0:
            raise SourceError(f"{self.name}: expected at least 1 day and a seed of at least 0")
        self._days = days
        config = config or WorldConfig()
        self._world = World(config, seed, days)
        self._marks: dict[str, Any] = {"config": config.model_dump(mode="json"), "seed": seed}
        self._users = _user_table(self._world.viewers)
        self._videos = video_table(self._world.videos)
        own = [*self._users.schema][1:] + [*self._videos.schema][1:]
        query = [field.with_name(QUERY_PREFIX + field.name) for field in [*self._videos.schema][1:]]
        self._schema = pa.schema([*_CONTEXT, *own, *query, *_LABELS, *_TRUTH])

    @classmethod
    def recognises(cls, data: str | None) -> bool:
        """Whether there is no `--data`, because the simulated world needs none."""
        return data is None

    @classmethod
    def open(cls, data: str | None, times: TimeRange) -> Self:
        """Open the world of default length; see `SourceKind.open`."""
        return cls()

    @property
    def schema(self) -> pa.Schema:
        """Schema of the batches."""
        return self._schema

    def batches(
        self,
        rows: int,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        resume_from: Offset | None = None,
    ) -> Iterator[SourceBatch]:
        """Yield the impressions, those of a page by position; see `Source.batches`.

        Hours that are outside the bounds, or were read in full before, are not simulated. An offset is valid
        for any number of days, because a longer world begins with the shorter one.
        """
        skip_rows = rows_to_skip(resume_from, self._marks, since_ms=since_ms, where=self.name)
        end_ms = EPOCH_MS + self._days * DAY_MS
        first_ms = EPOCH_MS if since_ms is None else max(since_ms, EPOCH_MS)
        last_ms = end_ms if until_ms is None else min(until_ms, end_ms)
        left = rebatch(self._hours(first_ms, last_ms, skip_rows), rows)
        yield from counted(left, self._marks, since_ms=since_ms, skipped=skip_rows)

    def time_range(self) -> tuple[int, int]:
        """The world's days; see `Source.time_range`."""
        return EPOCH_MS, EPOCH_MS + self._days * DAY_MS

    def users(self) -> Iterator[pa.RecordBatch]:
        """Yield every viewer, with or without impressions."""
        yield from pa.Table.from_batches([self._users]).to_batches(max_chunksize=_TABLE_ROWS)

    def videos(self) -> Iterator[pa.RecordBatch]:
        """Yield every video that is uploaded before the end of the log, in the order of upload."""
        yield from pa.Table.from_batches([self._videos]).to_batches(max_chunksize=_TABLE_ROWS)

    def examination_curve(self) -> pa.Table:
        """Return the true probability that a position is examined.

        Returns:
            One row per position and device: `position` (1 to 10), `device`, `examination`.
        """
        return pa.table(
            {
                "position": np.repeat(np.arange(1, PAGE + 1), len(DEVICES)),
                "device": DEVICES * PAGE,
                "examination": self._world.examination().ravel(),
            }
        )

    def _hours(self, since_ms: int, until_ms: int, skip_rows: int) -> Iterator[pa.Table]:
        """Yield the rows of each hour after the first `skip_rows`; a whole hour's number of rows is known."""
        hour_rows = np.diff(self._world.request_edges()) * PAGE
        for start_ms in range(since_ms - since_ms % HOUR_MS, until_ms, HOUR_MS):
            day, hour = divmod((start_ms - EPOCH_MS) // HOUR_MS, 24)
            if since_ms <= start_ms and start_ms + HOUR_MS <= until_ms and skip_rows >= hour_rows[hour]:
                skip_rows -= int(hour_rows[hour])
                continue
            records = self._records(day, hour)
            first, last = np.searchsorted(records[TIME_MS].to_numpy(), [since_ms, until_ms])
            skipped = min(skip_rows, int(last - first))
            skip_rows -= skipped
            yield pa.Table.from_batches([records.slice(first + skipped, last - first - skipped)])

    def _records(self, day: int, hour: int) -> pa.RecordBatch:
        """Simulate all impressions of an hour."""
        pages = self._world.pages(day, hour)
        requests, truth, feedback = pages.requests, pages.truth, pages.feedback
        edges, count = self._world.request_edges(), len(requests.viewer)
        viewer, query = np.repeat(requests.viewer, PAGE), np.repeat(requests.query, PAGE)
        video, rating = pages.video.ravel(), feedback.rating.ravel()
        query_id = pa.array(query, mask=query < 0)
        columns = {
            TIME_MS: np.repeat(requests.time_ms, PAGE),
            "request_id": np.repeat(day * edges[-1] + edges[hour] + np.arange(count), PAGE),
            USER_ID: viewer,
            VIDEO_ID: video,
            QUERY_VIDEO_ID: query_id,
            "position": np.tile(np.arange(1, PAGE + 1), count),
            "device": _named(DEVICES, np.repeat(requests.device, PAGE)),
            "hour": np.full(count * PAGE, hour),
            "click": feedback.click.ravel().astype(np.int8),
            "watch_time": feedback.watch_time_s.ravel().astype(np.float32),
            "like": feedback.like.ravel().astype(np.int8),
            "dismiss": feedback.dismiss.ravel().astype(np.int8),
            "rating": pa.array(rating.astype(np.int8), mask=rating == 0),
            "true_examination": truth.examination.ravel().astype(np.float32),
            "true_relevance": truth.relevance.ravel().astype(np.float32),
            "true_click": truth.click.ravel().astype(np.float32),
            "true_watch_time": truth.watch_time_s.ravel().astype(np.float32),
            "true_like": truth.like.ravel().astype(np.float32),
            "true_dismiss": truth.dismiss.ravel().astype(np.float32),
            "true_rating": truth.rating.ravel().astype(np.float32),
        }
        for prefix, table, index in (
            ("", self._users, pa.array(viewer)),
            ("", self._videos, pa.array(video)),
            (QUERY_PREFIX, self._videos, query_id),
        ):
            columns |= {prefix + name: table[name].take(index) for name in table.schema.names[1:]}
        return pa.record_batch([columns[name] for name in self._schema.names], schema=self._schema)


def _user_table(viewers: Viewers) -> pa.RecordBatch:
    return pa.record_batch(
        {
            USER_ID: np.arange(len(viewers.age_group)),
            "age_group": _named(AGE_GROUPS, viewers.age_group),
            "country": _named(COUNTRIES, viewers.country),
            "register_days": viewers.register_days,
        }
    )


def video_table(videos: Videos) -> pa.RecordBatch:
    """A row a video, in the order of upload."""
    listed = videos.topic_share > 0
    offsets = np.concatenate([[0], np.cumsum(listed.sum(axis=1))]).astype(np.int32)
    return pa.record_batch(
        {
            VIDEO_ID: np.arange(len(videos.author)),
            "author_id": videos.author,
            "topics": pa.ListArray.from_arrays(offsets, _named(TOPICS, videos.topics[listed])),
            "duration_s": videos.duration_s,
            "upload_time_ms": videos.upload_ms,
            "upload_day": (videos.upload_ms - EPOCH_MS) // DAY_MS,
        }
    )


def _named(names: tuple[str, ...], index: Ints) -> pa.Array:
    """Return the names at an index; null where it is -1."""
    return pa.array(names).take(pa.array(index, mask=index < 0))
