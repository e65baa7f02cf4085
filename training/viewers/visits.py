"""The visits of the simulated world: who asks for what at which moment, and what is true of it.

Shape letters: C candidates, P positions of a page.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from training.sources.simulated.population import DAY_MS, DEVICES, EPOCH_MS, PAGE, Ints
from training.sources.simulated.source import video_table
from training.sources.simulated.world import Feedback, Requests, Truth, World
from training.sources.simulated.world_file import WorldFile

_VISITS: Final = 5
"""Part of the seed of a visit's generator; smaller numbers belong to other generators of the world."""
HORIZON_DAYS: Final = 1_000
"""Days of the world that are drawn beyond what was asked for."""


@dataclass(frozen=True)
class Visit:
    """A viewer who asks for a page.

    Attributes:
        world: The world.
        request: The one request.
        candidates: (1, C) index of the videos that may be shown.
        random_page: (1, P) candidates in random order.
        rng: Draws what the viewer does.
    """

    world: World
    request: Requests
    candidates: Ints
    random_page: Ints
    rng: np.random.Generator

    @property
    def body(self) -> dict[str, Any]:
        """The body of `POST /v1/rank`."""
        query = int(self.request.query[0])
        return {
            "user": {"id": str(self.request.viewer[0])},
            "query_video_id": str(query) if query >= 0 else None,
            "context": {"device": DEVICES[self.request.device[0]], "hour": int(self.request.hour[0])},
            "candidates": [{"id": str(video)} for video in self.candidates[0].tolist()],
            "limit": PAGE,
        }

    def truth(self, page: Ints) -> Truth:
        """What is true of a page.

        Args:
            page: (1, P) videos from position 1 on.
        """
        return self.world.truth(self.request, page)

    def respond(self, truth: Truth) -> Feedback:
        """Draw what the viewer does with a page."""
        return self.world.respond(self.rng, self.request, truth)


class Visits:
    """Every visit of a world, by its number and its time: the same ones for the same seed.

    Args:
        world: The world.
        seed: Another one gives other visits.
    """

    def __init__(self, world: WorldFile, seed: int = 0) -> None:
        self._made_of = world
        self._seed = seed
        self._draw(world.days + HORIZON_DAYS)

    def visit(self, number: int, world_ms: int) -> Visit:
        """Draw a visit.

        Args:
            number: Of the visit; it decides all that is random in it.
            world_ms: When it is, in the world's time.
        """
        if world_ms >= self._drawn_ms:
            self._draw(2 * (world_ms - EPOCH_MS) // DAY_MS)
        rng = np.random.default_rng([self._made_of.seed, _VISITS, self._seed, number])
        request, candidates = self._world.visit(rng, world_ms)
        return Visit(self._world, request, candidates, rng.permuted(candidates, axis=1)[:, :PAGE], rng)

    def uploaded(self, since_ms: int, until_ms: int) -> list[dict[str, Any]]:
        """The videos that are uploaded in a span of the world's time, as bodies of `PUT /v1/videos`."""
        first, last = np.searchsorted(self._world.videos.upload_ms, [since_ms, until_ms])
        rows = self._videos.slice(first, last - first).to_pylist()
        columns = ("author_id", "topics", "duration_s")
        return [
            {"id": str(row["video_id"]), "features": {name: row[name] for name in columns}} for row in rows
        ]

    def _draw(self, days: int) -> None:
        """Draw the world's videos; those that were there stay as they are."""
        self._world = World(self._made_of.config, self._made_of.seed, days)
        self._videos = video_table(self._world.videos)
        self._drawn_ms = EPOCH_MS + days * DAY_MS
