"""Impressions and feedback of the small spec for tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import redis

from ranker.features.encoder import Encoder
from ranker.stream.event_log import Entry, EntryId, Kind
from ranker.stream.feedback import Event, to_bytes
from ranker.stream.impressions import Impression, ImpressionHeader
from ranker.stream.layouts import ImpressionLayouts, queue_layouts
from ranker.stream.texts import IDS, queue_texts
from tests.ranker.small_spec import SMALL_SPEC

LAYOUTS = ImpressionLayouts(Encoder(SMALL_SPEC))


def impression(
    request_id: str,
    videos: Sequence[dict[str, Any]],
    request: dict[str, Any] | None = None,
    *,
    time_ms: int = 0,
    reported: bool = False,
) -> Impression:
    """What a service would have written; `videos` have `video_id` and columns of their own or of the pair."""
    return _impression(LAYOUTS, request_id, request or {}, videos, time_ms=time_ms, reported=reported)


def impression_for(
    encoder: Encoder, request_id: str, request: dict[str, Any], videos: Sequence[dict[str, Any]]
) -> Impression:
    """What a service that ranks with this encoder would have written."""
    return _impression(ImpressionLayouts(encoder), request_id, request, videos)


def _impression(
    layouts: ImpressionLayouts,
    request_id: str,
    request: dict[str, Any],
    videos: Sequence[dict[str, Any]],
    **header: Any,
) -> Impression:
    about = ImpressionHeader(
        request_id=request_id,
        user_id=request.get("user_id"),
        query_video_id=request.get("query_video_id"),
        video_ids=[video["video_id"] for video in videos],
        scores=[1.0 / (1 + row) for row in range(len(videos))],
        layouts=layouts.digests,
        widths=layouts.widths,
        model_version="m1",
        score_policy="default",
        score_version="s1",
        **{"time_ms": 0, **header},
    )
    return Impression(
        about,
        layouts.request.of_rows([request]),
        layouts.videos.of_rows(videos),
        layouts.pairs.of_rows(videos),
    )


def entry(ms: int, made: Impression) -> Entry:
    """An entry with an impression."""
    return Entry(EntryId(ms, 0), Kind.IMPRESSION, made.to_bytes())


def keep(client: redis.Redis, rows: Sequence[dict[str, Any]]) -> None:
    """Write layouts, and the texts of some requests and videos, as a service does."""
    with client.pipeline() as pipeline:
        queue_layouts(pipeline, LAYOUTS.by_digest.values())
        for layout in LAYOUTS.by_digest.values():
            texts = layout.of_rows_with_texts(rows, without=IDS)[1]
            if texts:
                queue_texts(pipeline, SMALL_SPEC.hash_seed, texts)
        pipeline.execute()


def shown(ms: int, request_id: str, videos: Sequence[str], *, number: int = 0, **header: Any) -> Entry:
    """An entry with an impression of some videos."""
    made = impression(request_id, [{"video_id": video} for video in videos], **header)
    return Entry(EntryId(ms, number), Kind.IMPRESSION, made.to_bytes())


def given(ms: int, *events: Event, number: int = 0) -> Entry:
    """An entry with some feedback."""
    return Entry(EntryId(ms, number), Kind.FEEDBACK, to_bytes(list(events)))


def event(
    name: str, request_id: str, video: str, kind: str = "click", value: float = 1, time_ms: int | None = None
) -> Event:
    """An event."""
    return Event(name, request_id, video, kind, value, time_ms)


def same_words(one: Impression, other: Impression) -> bool:
    """Whether two impressions are the same."""
    pairs = ((one.request, other.request), (one.videos, other.videos), (one.pairs, other.pairs))
    return one.header == other.header and all(np.array_equal(a, b) for a, b in pairs)
