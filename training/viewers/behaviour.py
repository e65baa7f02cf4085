"""What viewers send of what they do: each event when it is due, some twice, late or never."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from training.sources.simulated.world import Feedback

TWICE_WITHIN_S: Final = 10.0


@dataclass(frozen=True)
class Habits:
    """How viewers answer.

    Attributes:
        answer_s: The most that passes before each thing that a viewer does: after the page a click or a
            dismissal, after a click what was watched and liked, after that a survey's answer.
        double: Share of events that are sent twice, under one id.
        lose: Share of events that are never sent.
        late: Share of events that come late.
        late_s: How late these are.
        explore: Share of positions that the app fills with a random candidate in place of the service's. It
            reports what it has shown by events of the kind `shown`.
    """

    answer_s: float = 1.5
    double: float = 0.0
    lose: float = 0.0
    late: float = 0.0
    late_s: float = 60.0
    explore: float = 0.0


@dataclass(frozen=True)
class Due:
    """An event, and when it is sent.

    Attributes:
        after_s: Time since the page was shown.
        event: As in the body of `POST /v1/events`.
    """

    after_s: float
    event: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a viewer sends of one page.

    Attributes:
        due: The events, those that are sent twice included.
        doubled: How many are sent twice.
        lost: How many are never sent.
        late: How many come late.
    """

    due: list[Due]
    doubled: int
    lost: int
    late: int


def explored(rng: np.random.Generator, share: float, ranked: Sequence[str], size: int) -> list[str]:
    """The page that an app shows, some of whose positions have a random candidate.

    Args:
        rng: Draws which ones.
        share: Of the positions.
        ranked: All candidates, best first.
        size: Positions of the page.
    """
    page = list(ranked[:size])
    for place in np.flatnonzero(rng.random(len(page)) < share).tolist():
        other = int(rng.integers(len(ranked)))
        if ranked[other] not in page:
            page[place] = ranked[other]
    return page


def shown_events(request_id: str, video_ids: Sequence[str]) -> list[Due]:
    """What an app sends as soon as it has shown a page."""
    return [
        Due(
            0.0,
            {
                "event_id": f"{request_id} {video} shown",
                "request_id": request_id,
                "video_id": video,
                "kind": "shown",
                "value": place,
            },
        )
        for place, video in enumerate(video_ids, start=1)
    ]


def answer(
    rng: np.random.Generator, habits: Habits, request_id: str, video_ids: list[str], feedback: Feedback
) -> Answer:
    """Turn what a viewer does into events.

    Args:
        rng: Draws when they are sent, and whether.
        habits: How viewers answer.
        request_id: That of the answer with the page.
        video_ids: The page, from position 1 on.
        feedback: One row of what the viewer did.
    """
    due: list[Due] = []
    doubled = lost = late = 0
    for place, video in enumerate(video_ids):
        first_s, second_s, third_s = np.cumsum(rng.random(3) * habits.answer_s)
        did = (
            ("click", first_s, float(feedback.click[0, place])),
            ("dismiss", first_s, float(feedback.dismiss[0, place])),
            ("watch_time", second_s, round(float(feedback.watch_time_s[0, place]), 1)),
            ("like", second_s, float(feedback.like[0, place])),
            ("rating", third_s, float(feedback.rating[0, place])),
        )
        for kind, after_s, value in did:
            if not value:
                continue
            is_lost, is_doubled, is_late = rng.random(3) < (habits.lose, habits.double, habits.late)
            if is_lost:
                lost += 1
                continue
            event = {
                "event_id": f"{request_id} {video} {kind}",
                "request_id": request_id,
                "video_id": video,
                "kind": kind,
                "value": value,
            }
            late += bool(is_late)
            when_s = float(after_s) + (habits.late_s if is_late else 0.0)
            due.append(Due(when_s, event))
            if is_doubled:
                doubled += 1
                due.append(Due(when_s + TWICE_WITHIN_S * float(rng.random()), event))
    return Answer(due, doubled, lost, late)
