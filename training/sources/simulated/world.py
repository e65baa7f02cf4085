"""A seeded world of viewers and videos in which the probability of every label is known.

A viewer examines a position with a probability that depends on position and device, and clicks what is
examined and attractive: P(click) = examination * relevance, the position-based model (Craswell et al., WSDM
2008, https://doi.org/10.1145/1341531.1341545). Click-bait raises clicks and lowers ratings, so engagement and
satisfaction disagree. Tastes and fashions change slowly, videos age, and new ones are uploaded every day.

Every hour has a random generator of its own, so an hour can be simulated without the ones before it, and only
one hour is in memory.

Shape letters: V viewers, N videos, R requests, C candidates of a request, P positions of a page, K topics.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from training.sources.simulated.population import (
    DAY_MS,
    DEVICE_SHARE,
    DEVICES,
    EPOCH_MS,
    HOUR_MS,
    PAGE,
    TYPICAL_DURATION_S,
    Bools,
    Floats,
    Ints,
    Videos,
    Viewers,
    WorldConfig,
)

_DEVICE_LENGTH: Final = np.array([-0.35, 0.0, 0.45, 0.1])
"""Logit of relevance per unit of log duration, by device: phones favour short videos, TVs long ones."""
MAX_AGE_DAYS: Final = 60
"""Older videos are no candidates of a single visit, so that one in a long-lived world takes no longer."""
_HOURS: Final = 4
"""Part of the seed of an hour's generator; smaller numbers belong to the population's generators."""


@dataclass(frozen=True)
class Requests:
    """Requests in temporal order.

    Attributes:
        time_ms: (R,) time of the request.
        viewer: (R,) index of the viewer.
        device: (R,) index into `DEVICES`.
        query: (R,) index of the query video; -1 on the homepage.
    """

    time_ms: Ints
    viewer: Ints
    device: Ints
    query: Ints

    @property
    def hour(self) -> Ints:
        """(R,) hour of the day, 0 to 23, UTC."""
        return self.time_ms // HOUR_MS % 24


@dataclass(frozen=True)
class Truth:
    """The expectation of every label; arrays are (R, P).

    `relevance` is P(click | examined). `watch_time_s` has 0 s for an impression without a click. `rating` is
    the expected rating, in stars, of a viewer who answers. The others are probabilities at the position
    shown.
    """

    examination: Floats
    relevance: Floats
    click: Floats
    like: Floats
    dismiss: Floats
    watch_time_s: Floats
    rating: Floats


@dataclass(frozen=True)
class Feedback:
    """What viewers did; arrays are (R, P), and `rating` is 0 where no survey was answered."""

    click: Bools
    like: Bools
    dismiss: Bools
    watch_time_s: Floats
    rating: Ints


@dataclass(frozen=True)
class Pages:
    """An hour of the log; `video` has the index of the videos shown, (R, P)."""

    requests: Requests
    video: Ints
    truth: Truth
    feedback: Feedback


class World:
    """Viewers, videos and the impressions of any hour.

    Args:
        config: Sizes and effect strengths.
        seed: Worlds of the same config and seed are the same.
        days: Length of the log. A longer world begins with the shorter one.
    """

    def __init__(self, config: WorldConfig, seed: int, days: int) -> None:
        self.config = config
        self.viewers = Viewers.draw(config, seed)
        self.videos = Videos.draw(config, seed, days)
        self._seed = seed

    def request_edges(self) -> Ints:
        """Return (25,) the cumulative requests of a day at every full hour; every day is the same."""
        rhythm = 1 + 0.8 * np.cos(2 * np.pi * (np.arange(24) - 20) / 24)
        edges = np.rint(np.cumsum(rhythm) / rhythm.sum() * self.config.requests_per_day)
        return np.concatenate([[0], edges]).astype(np.int64)

    def examination(self) -> Floats:
        """Return (P, D) the probability that a position is examined on each of `DEVICES`."""
        return np.asarray(1 / (1 + np.arange(PAGE)[:, None] * np.array(self.config.examination_decay)))

    def pages(self, day: int, hour: int) -> Pages:
        """Simulate one hour.

        Args:
            day: Days since `EPOCH_MS`, below the world's `days`.
            hour: Hour of the day, 0 to 23, UTC.
        """
        rng = np.random.default_rng([self._seed, _HOURS, day, hour])
        start_ms = EPOCH_MS + day * DAY_MS + hour * HOUR_MS
        size = int(np.diff(self.request_edges())[hour])
        viewer, device = self._visitors(rng, size)
        time_ms = np.sort(start_ms + rng.integers(HOUR_MS, size=size))
        candidates = self._candidates(rng, start_ms, size)
        requests = self._requests(rng, Requests(time_ms, viewer, device, np.full(size, -1)), candidates)

        merit = self.attraction(requests, candidates) + self.videos.promotion[candidates]
        merit += self.config.policy_noise * rng.gumbel(size=candidates.shape)
        merit[candidates == requests.query[:, None]] = -np.inf
        video = np.take_along_axis(candidates, np.argsort(-merit, axis=1)[:, :PAGE], axis=1)
        truth = self.truth(requests, video)
        return Pages(requests, video, truth, self.respond(rng, requests, truth))

    def visit(self, rng: np.random.Generator, time_ms: int) -> tuple[Requests, Ints]:
        """Draw one request, to be answered by any ranking.

        Args:
            rng: The random generator.
            time_ms: When it is made, in the world's time.

        Returns:
            One request, and (1, C) the videos that may be shown, without the query video.
        """
        viewer, device = self._visitors(rng, 1)
        oldest = np.searchsorted(self.videos.upload_ms, time_ms - MAX_AGE_DAYS * DAY_MS)
        candidates = self._candidates(rng, time_ms, 1, oldest=int(oldest))
        request = self._requests(
            rng, Requests(np.array([time_ms]), viewer, device, np.array([-1])), candidates
        )
        return request, candidates[candidates != request.query[0]][None]

    def attraction(self, requests: Requests, video: Ints) -> Floats:
        """Return the logit of relevance.

        Args:
            requests: R requests.
            video: (R, C) videos of each request.

        Returns:
            (R, C) logits of P(click | examined).
        """
        videos, days = self.videos, (requests.time_ms - EPOCH_MS) / DAY_MS
        age_days = (requests.time_ms[:, None] - videos.upload_ms[video]) / DAY_MS
        length = np.log(videos.duration_s / TYPICAL_DURATION_S)[video]
        mood = self.viewers.generosity[requests.viewer] + 0.2 * np.cos(2 * np.pi * (days - 21 / 24))
        own = 0.5 * videos.quality + self.config.click_bait * videos.click_bait
        return np.asarray(
            -1.75
            + mood[:, None]
            + 0.8 * self._match(requests, days, video)
            + own[video]
            + 0.5 * np.exp2(-age_days / 2)
            + _DEVICE_LENGTH[requests.device][:, None] * length
        )

    def truth(self, requests: Requests, video: Ints) -> Truth:
        """Return the expectation of every label.

        Args:
            requests: R requests.
            video: (R, P) videos shown from position 1 on; P is 1 to 10.
        """
        videos, days = self.videos, (requests.time_ms - EPOCH_MS) / DAY_MS
        own = videos.quality - self.config.disappointment * videos.click_bait
        satisfaction = 0.6 * self._match(requests, days, video) + own[video]
        duration_s = videos.duration_s[video]
        examination = self.examination()[: video.shape[1], requests.device].T
        relevance = _sigmoid(self.attraction(requests, video))
        click = examination * relevance
        watched = _sigmoid(satisfaction - 0.5 * np.log(duration_s / TYPICAL_DURATION_S) - 0.4)
        return Truth(
            examination=examination,
            relevance=relevance,
            click=click,
            like=click * _sigmoid(satisfaction - 2.5),
            dismiss=examination * _sigmoid(-satisfaction - 5.0),
            watch_time_s=click * watched * duration_s,
            rating=1 + 4 * _sigmoid(satisfaction + 0.4),
        )

    def respond(self, rng: np.random.Generator, requests: Requests, truth: Truth) -> Feedback:
        """Draw what viewers do, with exactly the expectations of `truth`.

        Args:
            rng: The random generator.
            requests: R requests.
            truth: (R, P) expectations.
        """
        shape = truth.click.shape
        examined = rng.random(shape) < truth.examination
        click = examined & (rng.random(shape) < truth.relevance)
        spread = np.exp(rng.normal(-0.5 * 0.6**2, 0.6, shape))  # log-normal with mean 1
        answers = rng.random(shape) < self.config.answered
        stars = 1 + rng.binomial(4, (truth.rating - 1) / 4)
        return Feedback(
            click=click,
            like=click & (rng.random(shape) < truth.like / truth.click),
            dismiss=examined & (rng.random(shape) < truth.dismiss / truth.examination),
            watch_time_s=np.where(click, truth.watch_time_s / truth.click * spread, 0.0),
            rating=np.where(click & answers & self.viewers.surveyed[requests.viewer][:, None], stars, 0),
        )

    def _visitors(self, rng: np.random.Generator, size: int) -> tuple[Ints, Ints]:
        """Draw (R,) viewers, and the devices that they are on."""
        viewer = np.searchsorted(self.viewers.share, rng.random(size)).clip(max=self.config.viewers - 1)
        device = np.where(
            rng.random(size) < 0.7,
            self.viewers.device[viewer],
            rng.choice(len(DEVICES), size, p=DEVICE_SHARE),
        )
        return viewer, device

    def _requests(self, rng: np.random.Generator, homepage: Requests, candidates: Ints) -> Requests:
        """Choose what is on now: a video that the viewer likes; nothing on the homepage.

        It is not shown as a candidate of its own page.
        """
        options = candidates[:, :8]
        wish = self.attraction(homepage, options) + rng.gumbel(size=options.shape)
        on = np.take_along_axis(options, wish.argmax(axis=1)[:, None], axis=1)[:, 0]
        query = np.where(rng.random(len(on)) < 0.25, -1, on)
        return replace(homepage, query=query)

    def _candidates(self, rng: np.random.Generator, now_ms: int, size: int, oldest: int = 0) -> Ints:
        """Draw (R, C) candidates without repetition; popular and recent videos are more frequent."""
        videos, count = self.videos, self.config.candidates
        newest = np.searchsorted(videos.upload_ms, now_ms, side="right")
        pool = oldest + rng.permutation(newest - oldest)
        age_days = (now_ms - videos.upload_ms[pool]) / DAY_MS
        weight = videos.popularity[pool] * np.exp2(-age_days / self.config.popularity_half_life_days)
        # One video from each of C parts of the shuffled pool, so that none is drawn twice
        edges = np.arange(count + 1) * len(pool) // count
        total = np.concatenate([[0.0], np.cumsum(weight)])
        low, high = total[edges[:-1]], total[edges[1:]]
        index = np.searchsorted(total, low + rng.random((size, count)) * (high - low), side="right") - 1
        drawn = pool[np.clip(index, edges[:-1], edges[1:] - 1)]
        return np.asarray(rng.permuted(drawn, axis=1))

    def _match(self, requests: Requests, days: Floats, video: Ints) -> Floats:
        """Return (R, C) the viewers' taste for the videos' topics; the query video's topics count more."""
        taste = self.viewers.taste(requests.viewer, days)
        row = np.flatnonzero(requests.query >= 0)
        query = requests.query[row]
        taste[row[:, None], self.videos.topics[query]] += 1.6 * self.videos.topic_share[query]
        match = np.zeros(video.shape)
        for part in range(2):
            topic, share = self.videos.topics[video, part], self.videos.topic_share[video, part]
            match += share * np.take_along_axis(taste, topic, axis=1)
        return match


def _sigmoid(logit: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logit)))
