"""Traffic that is the same whatever ranks: pages in random order, and what viewers do with them.

The service ranks the videos of a page; the app shows them in an order of its own and says so by `shown`
events, so that what is learned of a page does not depend on the model.

Shape letters: P positions of a page, T tasks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from training.sources.simulated.world import Feedback
from training.sources.simulated.world_file import WorldFile
from training.viewers.behaviour import Habits, answer, shown_events
from training.viewers.visits import Visits

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Page:
    """What one viewer is shown, and does.

    Attributes:
        body: Of `POST /v1/rank`.
        videos: (P,) ids, from position 1 on.
        feedback: One row of what the viewer does.
    """

    body: dict[str, Any]
    videos: list[str]
    feedback: Feedback

    def labels(self) -> dict[str, Floats]:
        """(P,) the labels by name, NaN where missing."""
        feedback = self.feedback
        rating = feedback.rating[0].astype(float)
        return {
            "click": feedback.click[0].astype(float),
            "watch_time": np.round(feedback.watch_time_s[0].astype(float), 1),
            "like": feedback.like[0].astype(float),
            "dismiss": feedback.dismiss[0].astype(float),
            "rating": np.where(rating > 0, rating, np.nan),
        }

    def events(self, request_id: str) -> list[dict[str, Any]]:
        """The body's events of `POST /v1/events`."""
        habits, rng = Habits(), np.random.default_rng(0)  # nothing is doubled, lost or late
        due = answer(rng, habits, request_id, self.videos, self.feedback).due
        return [one.event for one in (*shown_events(request_id, self.videos), *due)]


def pages(world: WorldFile, rate: float, *, seed: int = 0) -> Iterator[Page]:
    """Every page of a world behind its log, without an end.

    Args:
        world: The world.
        rate: Pages a second, on which the world's time depends.
        seed: Another one gives other pages.
    """
    visits, number, step_ms = Visits(world, seed), 0, 1000 * world.speed / rate
    while True:
        visit = visits.visit(number, world.world_end_ms + round(number * step_ms))
        shown = visit.random_page
        videos = [str(video) for video in shown[0].tolist()]
        body = {name: value for name, value in visit.body.items() if name != "limit"}
        body["candidates"] = [{"id": video} for video in videos]
        yield Page(body, videos, visit.respond(visit.truth(shown)))
        number += 1


@dataclass(frozen=True)
class Seen:
    """A page that was ranked.

    Attributes:
        page: The page.
        predictions: (P, T) of each position's video; NaN if there was no answer.
        failed: What was not answered well.
    """

    page: Page
    predictions: Floats
    failed: tuple[str, ...] = ()


def show(client: httpx.Client, page: Page, tasks: list[str]) -> Seen:
    """Have a page ranked, and send what the viewer does."""
    try:
        ranked = client.post("/v1/rank", json=page.body)
        if ranked.status_code != httpx.codes.OK or ranked.json()["degraded"]:
            raise httpx.HTTPError(f"/v1/rank: {ranked.status_code} {ranked.text:.200}")
        told = client.post("/v1/events", json={"events": page.events(ranked.json()["request_id"])})
        if told.status_code != httpx.codes.OK or told.json()["rejected"]:
            raise httpx.HTTPError(f"/v1/events: {told.status_code} {told.text:.200}")
    except httpx.HTTPError as error:
        return Seen(page, np.full((len(page.videos), len(tasks)), np.nan), (str(error),))
    found = {item["id"]: item["predictions"] for item in ranked.json()["items"]}
    return Seen(page, np.array([[found[video][task] for task in tasks] for video in page.videos]))
