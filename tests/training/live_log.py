"""Logs of events for tests, and a join of them in ordinary Python."""

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import redis

from ranker.spec_file import parse_spec
from ranker.store.keys import events_key
from ranker.stream import feedback
from ranker.stream.event_log import Entry, EntryId, Kind
from ranker.stream.feedback import Event
from ranker.stream.impressions import Impression
from ranker.stream.redis_event_log import entry_fields
from tests.ranker.small_spec import SMALL_YAML
from tests.ranker.stream.made_events import given, impression, keep

LIVE_SPEC = parse_spec(
    SMALL_YAML.replace("name: click,", "name: click, label_wait: 2s,")
    .replace("name: watch_time,", "name: watch_time, several: sum, label_wait: 4s,")
    .replace("name: rating,", "name: rating, several: max,"),
    where="live_log.py",
)
"""The small spec with labels that wait for 2 s, 4 s, and as long as the impression."""
WAIT_S = 5.0
BEGAN_MS = 1_790_000_000_000
LIKES = (0, 1)


def random_log(requests: int, *, seed: int, pause_ms: int = 700, began_ms: int = BEGAN_MS) -> list[Entry]:
    """A log of some requests: feedback comes late, doubled, out of order, and of what was never shown.

    Args:
        requests: How many.
        seed: Another one gives another log.
        pause_ms: Between two requests, at most.
        began_ms: Time of the first entry.
    """
    draw = random.Random(seed)
    at: dict[int, list[Impression | list[Event]]] = defaultdict(list)
    ms, names = began_ms, 0
    for number in range(requests):
        ms += draw.choice([0, 1, draw.randrange(pause_ms)])
        request = f"r{seed}-{number}" if draw.random() < 0.95 else f"r{seed}-{max(0, number - 3)}"
        videos = [_video(draw) for _ in range(draw.randrange(1, 6))]
        context = {"user_id": f"u{draw.randrange(9)}", "hour": draw.randrange(24), "country": "se"}
        at[ms].append(impression(request, videos, context, reported=draw.random() < 0.2))
        for _ in range(draw.randrange(5)):
            names += draw.random() < 0.8
            events = [
                Event(
                    f"e{names}",
                    draw.choice([request, request, request, "unknown"]),
                    draw.choice(videos)["video_id"] if draw.random() < 0.95 else "none",
                    kind,
                    float(draw.choice(LIKES)) if kind in ("click", "like") else draw.choice([0.5, 2.0, 7.5]),
                    None,
                )
                for kind in draw.sample(["click", "like", "watch_time", "rating", "shown"], 2)
            ]
            at[ms + draw.choice([0, 5, 1_999, 2_000, 2_001, 4_000, 5_000, 5_001, 9_000])].append(events)
    return [
        given(ms, *content, number=number)
        if isinstance(content, list)
        else Entry(EntryId(ms, number), Kind.IMPRESSION, content.to_bytes())
        for ms, contents in sorted(at.items())
        for number, content in enumerate(contents)
    ]


def _video(draw: random.Random) -> dict[str, Any]:
    return {
        "video_id": f"v{draw.randrange(10**6)}",
        "topic": draw.choice(["news", "music", None]),
        "tags": draw.choice([None, [], ["a", "b"]]),
        "duration_s": draw.choice([None, 12.5, 30.0]),
        "last_author_id": draw.choice([None, "x"]),
    }


def write(client: redis.Redis, entries: Sequence[Entry]) -> None:
    """Write entries with the ids that they have, and the texts of `random_log`."""
    texts = [{"country": "se"}, {"topic": "news"}, {"topic": "music"}, {"tags": ["a", "b"]}]
    keep(client, [*texts, {"last_author_id": "x"}, *({"hour": hour} for hour in range(24))])
    with client.pipeline() as pipeline:
        for entry in entries:
            pipeline.xadd(events_key(), entry_fields(entry.kind, entry.data), id=str(entry.id))
        pipeline.execute()


def joined_by_search(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The rows that a log has: for each impression the whole log is searched."""
    rows: list[dict[str, Any]] = []
    known: set[str] = set()
    everything = [
        (entry, event)
        for entry in entries
        if entry.kind is Kind.FEEDBACK
        for event in feedback.from_bytes(entry.data, where="")
    ]
    for shown in entries:
        if shown.kind is not Kind.IMPRESSION:
            continue
        header = Impression.from_bytes(shown.data, where="").header
        if header.request_id in known:
            continue
        known.add(header.request_id)
        about, names = defaultdict(list), set()
        for entry, event in everything:
            wait_ms = {"click": 2_000, "watch_time": 4_000}.get(event.kind, 5_000)
            in_time = entry.id > shown.id and entry.id.ms - shown.id.ms <= wait_ms
            known_video = event.video_id in header.video_ids
            if event.request_id == header.request_id and in_time and known_video:
                if event.event_id not in names:
                    about[event.video_id, event.kind].append(event.value)
                names.add(event.event_id)
        begin = len(rows)
        for place, video in enumerate(header.video_ids, start=1):
            reports = about[video, "shown"]
            if header.reported and not reports:
                continue
            position = place
            if reports:
                position = int(reports[-1]) if reports[-1] >= 1 else place
            clicks, likes = about[video, "click"], about[video, "like"]
            rows.append(
                {
                    "time_ms": shown.id.ms,
                    "request_id": header.request_id,
                    "entry_id": str(shown.id),
                    "video_id": video,
                    "user_id": header.user_id,
                    "position": position,
                    "click": clicks[-1] if clicks else 0.0,
                    "like": likes[-1] if likes else 0.0,
                    "watch_time": sum(about[video, "watch_time"]) if about[video, "watch_time"] else None,
                    "survey_rating": max(about[video, "rating"], default=None),
                }
            )
        rows[begin:] = sorted(rows[begin:], key=lambda row: row["position"])
    return rows
