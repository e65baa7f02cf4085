"""Several viewers at once: each asks for a page, looks at it, and answers, until they are told to leave."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from ranker.errors import WatchnextError
from training.service_client import AwayError, ServiceClient
from training.sources.simulated.population import PAGE
from training.sources.simulated.world_file import WorldFile
from training.viewers.behaviour import Habits, answer, explored, shown_events
from training.viewers.outbox import Outbox
from training.viewers.satisfaction import RecentMean, Satisfaction
from training.viewers.status import ViewerStatus
from training.viewers.visits import Visit, Visits

logger = logging.getLogger(__name__)

BEHIND_S: Final = 2.0
"""Who is further behind does not catch up: viewers who found no service have gone."""
PAUSE_S: Final = 0.5
POLL_S: Final = 0.05


@dataclass(frozen=True)
class CrowdConfig:
    """Who asks, and how often.

    Attributes:
        world: The world in which they live.
        rate: Pages a second that they ask for, all together.
        concurrency: How many may wait for an answer at once.
        habits: How they answer.
        seed: Another one gives other visits.
        begin: Where the world stands, and what was counted before.
    """

    world: WorldFile
    rate: float = 20.0
    concurrency: int = 8
    habits: Habits = field(default_factory=Habits)
    seed: int = 0
    begin: ViewerStatus | None = None


class Crowd:
    """Viewers of one service.

    The n-th visit is the same whenever it is made and whoever makes it: viewer, candidates and moment in the
    world. What the viewer does depends on what is shown, and on nothing else.

    Args:
        config: Who asks.
        connect: Gives a client of the service; called once for each thread.
        watch: Is told of each visit that was answered, and how satisfying its page truly is, in the thread of
            the visit.
    """

    def __init__(
        self,
        config: CrowdConfig,
        connect: Callable[[], ServiceClient],
        watch: Callable[[Visit, Satisfaction], None] = lambda *_: None,
    ) -> None:
        self._config = config
        self._connect = connect
        self._watch = watch
        self._visits = Visits(config.world, config.seed)
        self._lock = threading.Lock()
        self._counted = config.begin or ViewerStatus(world_ms=config.world.world_end_ms)
        self._sent_before = self._counted
        self._next_s: float | None = None
        self._shown, self._random = RecentMean(), RecentMean()
        self._outbox = Outbox(connect())
        self._uploaded_ms = config.world.world_end_ms
        self._away_since: float | None = None

    def run(
        self, leave: Callable[[], bool], report: Callable[[ViewerStatus], None], every_s: float = 1.0
    ) -> None:
        """Visit until it is time to leave; a report comes every so often, and at the end.

        Args:
            leave: Asked several times a second whether it is time.
            report: Is told how things stand.
            every_s: How often.
        """
        left = threading.Event()
        asking = [
            threading.Thread(target=self._ask, args=(left,), name=f"viewer-{number}")
            for number in range(self._config.concurrency)
        ]
        asking.append(threading.Thread(target=self._upload, args=(left,), name="viewers-upload"))
        with self._outbox:
            for thread in asking:
                thread.start()
            reported_s = time.monotonic()
            while not leave():
                time.sleep(POLL_S)
                if time.monotonic() - reported_s >= every_s:
                    reported_s = time.monotonic()
                    report(self.status())
            left.set()
            for thread in asking:
                thread.join()
        report(self.status())

    def status(self) -> ViewerStatus:
        """How things stand."""
        with self._lock:
            before, outbox = self._sent_before, self._outbox
            return replace(
                self._counted,
                sent=before.sent + outbox.sent,
                rejected=before.rejected + outbox.rejected,
                retries=before.retries + outbox.retries,
                waiting=outbox.waiting,
                shown=self._shown.mean(),
                random=self._random.mean(),
            )

    def _ask(self, left: threading.Event) -> None:
        with contextlib.closing(self._connect()) as client:
            while (visit := self._next(left)) is not None:
                try:
                    self._visit(client, visit, left)
                except WatchnextError:
                    logger.exception("a viewer's request was refused")
                    left.wait(PAUSE_S)

    def _next(self, left: threading.Event) -> Visit | None:
        """Wait for the next visit; None once it is time to leave."""
        with self._lock:
            counted, rate = self._counted, self._config.rate
            now = time.monotonic()
            if self._next_s is None or self._next_s < now - BEHIND_S:
                self._next_s = now
            due_s, self._next_s = self._next_s, self._next_s + 1 / rate
            self._counted = replace(
                counted,
                visits=counted.visits + 1,
                world_ms=counted.world_ms + round(1000 * self._config.world.speed / rate),
            )
            visit = self._visits.visit(counted.visits, counted.world_ms)
        return None if left.wait(max(0.0, due_s - now)) else visit

    def _visit(self, client: ServiceClient, visit: Visit, left: threading.Event) -> None:
        """Ask for a page, once: who is not answered goes away."""
        habits = self._config.habits
        try:
            limit = {} if habits.explore == 0 else {"limit": visit.candidates.size}
            page = client.call("POST", "/v1/rank", visit.body | limit)
        except AwayError as error:
            self._count(unanswered=1)
            self._say_away(error)
            left.wait(max(PAUSE_S, error.retry_after_s))
            return
        self._say_back()
        videos = [item["id"] for item in page["items"]]
        if habits.explore:
            videos = explored(visit.rng, habits.explore, videos, PAGE)
            self._outbox.add(shown_events(page["request_id"], videos))
        truth = visit.truth(np.array([[int(video) for video in videos]]))
        answered = answer(visit.rng, habits, page["request_id"], videos, visit.respond(truth))
        self._outbox.add(answered.due)
        satisfaction = Satisfaction.of(truth)
        with self._lock:
            self._shown.add(satisfaction)
            self._random.add(Satisfaction.of(visit.truth(visit.random_page)))
        self._watch(visit, satisfaction)
        self._count(
            pages=1,
            videos=len(videos),
            doubled=answered.doubled,
            lost=answered.lost,
            late=answered.late,
        )

    def _count(self, **more: int) -> None:
        with self._lock:
            fresh = {name: getattr(self._counted, name) + number for name, number in more.items()}
            self._counted = replace(self._counted, **fresh)

    def _say_away(self, error: AwayError) -> None:
        with self._lock:
            first = self._away_since is None
            self._away_since = self._away_since or time.monotonic()
        if first:
            logger.warning("%s; viewers ask again", error)

    def _say_back(self) -> None:
        with self._lock:
            since, self._away_since = self._away_since, None
        if since is not None:
            logger.info("the service answers again, after %.1f s", time.monotonic() - since)

    def _upload(self, left: threading.Event) -> None:
        """Tell the service of videos as they are uploaded, those since the log's end first."""
        with contextlib.closing(self._connect()) as client:
            while not left.wait(PAUSE_S):
                with self._lock:
                    until_ms = self._counted.world_ms
                    videos = self._visits.uploaded(self._uploaded_ms, until_ms)
                try:
                    for video in videos:
                        client.call("PUT", "/v1/videos", video)
                except AwayError:
                    continue  # the same videos again
                except WatchnextError:
                    logger.exception("a video was refused")
                self._uploaded_ms = until_ms
