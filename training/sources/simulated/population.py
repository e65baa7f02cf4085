"""The population of the simulated world: its configuration, viewers and videos.

Shape letters: V viewers, N videos, R requests, K topics.
"""

from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

EPOCH_MS: Final = 1_767_225_600_000
"""The first millisecond of the log: 2026-01-01T00:00Z."""
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
PAGE: Final = 10
"""Positions of the page that every request shows."""

DEVICES: Final = ("phone", "tablet", "tv", "desktop")
AGE_GROUPS: Final = ("13-17", "18-24", "25-34", "35-49", "50-64", "65+")
COUNTRIES: Final = ("BR", "DE", "FR", "IN", "JP", "MX", "NG", "US")
TOPICS: Final = (
    *("animals", "cars", "comedy", "cooking", "dance", "fashion", "film", "fitness"),
    *("gaming", "history", "music", "news", "science", "sports", "technology", "travel"),
)

DEVICE_SHARE: Final = np.array([0.55, 0.10, 0.15, 0.20])
TYPICAL_DURATION_S: Final = 240.0
_MISSING_PROFILE: Final = 0.08
"""Share of viewers without an age, and share of viewers without a country."""
_VIEWERS, _TASTES, _AUTHORS, _UPLOADS = range(4)  # part of a generator's seed, by what it draws


class WorldConfig(BaseModel):
    """Sizes and effect strengths of the simulated world."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    viewers: PositiveInt = Field(5_000, description="Viewers; a few are far more active than most.")
    authors: PositiveInt = Field(
        300, description="Authors; each has a topic, a quality and a taste for click-bait."
    )
    uploads_per_day: PositiveInt = Field(100, description="New videos a day.")
    catalogue_days: PositiveInt = Field(20, description="Days of uploads that are there when the log begins.")
    requests_per_day: PositiveInt = Field(6_000, description="Pages a day; each shows 10 impressions.")
    candidates: int = Field(30, gt=PAGE, description="Videos that the logging policy picks each page from.")
    policy_noise: PositiveFloat = Field(
        1.0, description="Noise of the logging policy, in logits of relevance."
    )
    promotion: float = Field(
        1.6,
        ge=0,
        description="How far the logging policy favours authors beyond their merit, in the same logits.",
    )
    examination_decay: tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        (0.6, 0.3, 0.1, 0.2),
        description="k in examination = 1 / (1 + k (position - 1)) on phone, tablet, tv and desktop.",
    )
    click_bait: float = Field(0.9, ge=0, le=10, description="What click-bait adds to the logit of relevance.")
    disappointment: float = Field(1.2, ge=0, le=10, description="What click-bait takes from satisfaction.")
    taste_period_days: PositiveFloat = Field(
        90.0, description="Typical days in which a taste turns full circle."
    )
    popularity_half_life_days: PositiveFloat = Field(
        7.0, description="Age at which a video is shown half as often."
    )
    surveyed: float = Field(0.2, ge=0, le=1, description="Share of viewers who ever answer a survey.")
    answered: float = Field(0.4, ge=0, le=1, description="Share of their clicks that those answer for.")

    @model_validator(mode="after")
    def _enough_videos(self) -> Self:
        videos = self.uploads_per_day * self.catalogue_days
        if videos < self.candidates:
            raise ValueError(
                f"expected at least candidates = {self.candidates} videos at the start, found {videos}"
            )
        return self


@dataclass(frozen=True)
class Viewers:
    """The viewers; a viewer's id is the index.

    Attributes:
        age_group: (V,) index into `AGE_GROUPS`; -1 where unknown.
        country: (V,) index into `COUNTRIES`; -1 where unknown.
        register_days: (V,) days since registration when the log begins.
        device: (V,) index of the usual device in `DEVICES`.
        share: (V,) cumulative share of requests.
        generosity: (V,) logit that is added to the relevance of every video.
        surveyed: (V,) whether the viewer ever answers a survey.
        lasting_taste: (V, K) logits that do not change.
        passing_taste: (2, V, K) logits; the taste rotates from the first to the second and on to their
            opposites.
        turn: (K,) speed of that rotation, in radians a day.
        fashion_phase: (K,) phase of the fashion that all viewers share, in radians.
    """

    age_group: Ints
    country: Ints
    register_days: Ints
    device: Ints
    share: Floats
    generosity: Floats
    surveyed: Bools
    lasting_taste: Floats
    passing_taste: Floats
    turn: Floats
    fashion_phase: Floats

    @classmethod
    def draw(cls, config: WorldConfig, seed: int) -> Self:
        """Draw all viewers; the same config and seed give the same ones."""
        rng = np.random.default_rng([seed, _VIEWERS])
        size, topics = config.viewers, len(TOPICS)
        age, country = rng.integers(len(AGE_GROUPS), size=size), rng.integers(len(COUNTRIES), size=size)
        register_days = np.floor(rng.exponential(400, size)).astype(np.int64)
        activity = 1 + rng.pareto(1.6, size)
        tastes = np.random.default_rng([seed, _TASTES])
        by_age = tastes.normal(0, 0.8, (2, len(AGE_GROUPS), topics))
        by_country = tastes.normal(0, 0.5, (len(COUNTRIES), topics))
        own = tastes.normal(0, 0.35, (3, size, topics))
        return cls(
            age_group=np.where(rng.random(size) < _MISSING_PROFILE, -1, age),
            country=np.where(rng.random(size) < _MISSING_PROFILE, -1, country),
            register_days=register_days,
            device=rng.choice(len(DEVICES), size, p=DEVICE_SHARE),
            share=np.cumsum(activity) / activity.sum(),
            generosity=rng.normal(0, 0.5, size) - 0.15 * (np.log1p(register_days) - 5.4),
            surveyed=rng.random(size) < config.surveyed,
            lasting_taste=by_country[country] + own[0],
            passing_taste=by_age[:, age] + own[1:],
            turn=2 * np.pi / config.taste_period_days * tastes.uniform(0.5, 1.5, topics),
            fashion_phase=tastes.uniform(0, 2 * np.pi, topics),
        )

    def taste(self, viewer: Ints, days: Floats) -> Floats:
        """Return the taste for every topic at a time.

        Args:
            viewer: (R,) indices.
            days: (R,) days since the epoch.

        Returns:
            (R, K) logits: the sum of the lasting taste, the passing taste and the fashion.
        """
        angle = self.turn * days[:, None]
        first, second = self.passing_taste
        fashion = 0.3 * np.sin(2 * np.pi * days[:, None] / 14 + self.fashion_phase)
        passing = np.cos(angle) * first[viewer] + np.sin(angle) * second[viewer]
        return np.asarray(self.lasting_taste[viewer] + passing + fashion)


@dataclass(frozen=True)
class Authors:
    """The authors' effects on their videos; arrays have one entry per author.

    `share` is the author's share of uploads, `topic` an index into `TOPICS`; the rest is in logits.
    """

    share: Floats
    topic: Ints
    quality: Floats
    click_bait: Floats
    promotion: Floats


@dataclass(frozen=True)
class Videos:
    """The videos in the order of upload; a video's id is the index.

    Arrays are (N,), except `topics` and `topic_share`, which are (N, 2); the second share is 0 if a video has
    one topic. `quality`, `click_bait` and `promotion` are in logits, and `popularity` is proportional to how
    often a new video is a candidate; the log has none of these.
    """

    author: Ints
    topics: Ints
    topic_share: Floats
    duration_s: Floats
    upload_ms: Ints
    quality: Floats
    click_bait: Floats
    popularity: Floats
    promotion: Floats

    @classmethod
    def draw(cls, config: WorldConfig, seed: int, days: int) -> Self:
        """Draw the videos uploaded before the end of day `days`; more days only add videos."""
        rng = np.random.default_rng([seed, _AUTHORS])
        size = config.authors
        output = 1 + rng.pareto(1.5, size)
        authors = Authors(
            share=output / output.sum(),
            topic=rng.integers(len(TOPICS), size=size),
            quality=rng.normal(0, 0.5, size),
            click_bait=rng.normal(0, 0.6, size),
            promotion=config.promotion * rng.normal(0, 1, size),
        )
        cohorts = [cls._upload(config, authors, seed, day) for day in range(-config.catalogue_days, days)]
        return cls(**{f.name: np.concatenate([getattr(c, f.name) for c in cohorts]) for f in fields(cls)})

    @classmethod
    def _upload(cls, config: WorldConfig, authors: Authors, seed: int, day: int) -> Self:
        size = config.uploads_per_day
        rng = np.random.default_rng([seed, _UPLOADS, day + config.catalogue_days])
        author = rng.choice(config.authors, size, p=authors.share)
        topic = np.where(rng.random(size) < 0.75, authors.topic[author], rng.integers(len(TOPICS), size=size))
        second = (topic + rng.integers(1, len(TOPICS), size)) % len(TOPICS)
        share = np.where(rng.random(size) < 0.4, 1.0, 0.65)
        quality = authors.quality[author] + rng.normal(0, 0.5, size)
        click_bait = authors.click_bait[author] + rng.normal(0, 0.5, size)
        duration_s = TYPICAL_DURATION_S * np.exp(rng.normal(0, 0.9, size))
        return cls(
            author=author,
            topics=np.stack([topic, second], axis=1),
            topic_share=np.stack([share, 1 - share], axis=1),
            duration_s=duration_s.clip(10, 7200).round(1),
            upload_ms=np.sort(EPOCH_MS + day * DAY_MS + rng.integers(DAY_MS, size=size)),
            quality=quality,
            click_bait=click_bait,
            popularity=np.exp(0.5 * quality + 0.3 * click_bait + rng.normal(0, 0.7, size)),
            promotion=authors.promotion[author],
        )
