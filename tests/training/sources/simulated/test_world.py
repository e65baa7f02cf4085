from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from training.sources.simulated.population import DAY_MS, DEVICES, EPOCH_MS, HOUR_MS, PAGE, WorldConfig
from training.sources.simulated.world import Pages, World

CONFIG = WorldConfig(viewers=400, authors=40, uploads_per_day=50, catalogue_days=4, requests_per_day=12_000)


@pytest.fixture(scope="module")
def world() -> World:
    return World(CONFIG, seed=3, days=2)


@pytest.fixture(scope="module")
def day(world: World) -> list[Pages]:
    return [world.pages(0, hour) for hour in range(24)]


def gather(day: list[Pages], get: Callable[[Pages], Any]) -> Any:
    return np.concatenate([get(pages) for pages in day])


@pytest.mark.parametrize("label", ["click", "like", "dismiss"])
def test_labels_happen_as_often_as_the_truth_says(day: list[Pages], label: str) -> None:
    happened = gather(day, lambda p: getattr(p.feedback, label)).ravel()
    probability = gather(day, lambda p: getattr(p.truth, label)).ravel()

    for part in np.array_split(np.argsort(probability), 8):
        expected, spread = (
            probability[part].sum(),
            np.sqrt((probability[part] * (1 - probability[part])).sum()),
        )
        assert abs(happened[part].sum() - expected) < 4 * spread


def test_watch_time_is_what_the_truth_expects(day: list[Pages]) -> None:
    watched_s = gather(day, lambda p: p.feedback.watch_time_s).ravel()
    expected_s = gather(day, lambda p: p.truth.watch_time_s).ravel()

    for part in np.array_split(np.argsort(expected_s), 8):
        error_s = watched_s[part] - expected_s[part]
        assert abs(error_s.mean()) < 4 * error_s.std() / np.sqrt(len(part))


def test_survey_answers_are_what_the_truth_expects(day: list[Pages]) -> None:
    rating = gather(day, lambda p: p.feedback.rating).ravel()
    error = (rating - gather(day, lambda p: p.truth.rating).ravel())[rating > 0]

    assert set(np.unique(rating)) == {0, 1, 2, 3, 4, 5}
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(len(error))


def test_only_few_viewers_answer_and_only_for_clicks(world: World, day: list[Pages]) -> None:
    answered = gather(day, lambda p: p.feedback.rating > 0)
    viewer = gather(day, lambda p: p.requests.viewer)

    assert not np.any(answered & ~gather(day, lambda p: p.feedback.click))
    assert np.all(world.viewers.surveyed[viewer[answered.any(axis=1)]])
    assert 0.1 < world.viewers.surveyed.mean() < 0.3


def test_positions_are_examined_as_the_curve_says(world: World, day: list[Pages]) -> None:
    curve, device = world.examination(), gather(day, lambda p: p.requests.device)
    click, relevance = gather(day, lambda p: p.feedback.click), gather(day, lambda p: p.truth.relevance)

    assert curve.shape == (PAGE, len(DEVICES))
    assert np.all(np.diff(curve, axis=0) < 0)
    assert np.all(np.diff(curve[1:][:, [0, 1, 3, 2]], axis=1) > 0)  # phone, tablet, desktop, tv
    for number in range(len(DEVICES)):
        clicks, attractive = click[device == number].sum(axis=0), relevance[device == number].sum(axis=0)
        assert np.all(np.abs(clicks / attractive - curve[:, number]) < 5 * np.sqrt(clicks) / attractive)


def test_base_rates_are_those_of_a_video_service() -> None:
    day = [World(WorldConfig(), seed=0, days=1).pages(0, hour) for hour in range(24)]

    assert 0.15 < gather(day, lambda p: p.feedback.click).mean() < 0.25
    assert 0.02 < gather(day, lambda p: p.feedback.like).mean() < 0.04
    assert 0.005 < gather(day, lambda p: p.feedback.dismiss).mean() < 0.015
    assert 0.01 < (gather(day, lambda p: p.feedback.rating) > 0).mean() < 0.02


def test_click_bait_attracts_and_disappoints(world: World, day: list[Pages]) -> None:
    bait = world.videos.click_bait[gather(day, lambda p: p.video)]
    rating, most, least = gather(day, lambda p: p.feedback.rating), bait > 0.6, bait < -0.6

    click = gather(day, lambda p: p.feedback.click)
    dismiss = gather(day, lambda p: p.feedback.dismiss)
    assert click[most].mean() > 1.3 * click[least].mean()
    assert rating[most & (rating > 0)].mean() < rating[least & (rating > 0)].mean() - 0.5
    assert dismiss[most].mean() > 2 * dismiss[least].mean()


def test_the_policy_puts_relevant_and_promoted_videos_first_but_not_always(
    world: World, day: list[Pages]
) -> None:
    relevance = gather(day, lambda p: p.truth.relevance)
    promotion = world.videos.promotion[gather(day, lambda p: p.video)]

    assert relevance[:, 0].mean() > relevance[:, -1].mean() + 0.05
    assert promotion[:, 0].mean() > promotion[:, -1].mean() + 0.2
    assert 0.2 < (relevance[:, 0] < relevance[:, -1]).mean() < 0.5


def test_a_page_shows_ten_videos_once_and_not_the_one_that_is_on(day: list[Pages]) -> None:
    video, query = gather(day, lambda p: p.video), gather(day, lambda p: p.requests.query)

    assert np.all(np.diff(np.sort(video, axis=1), axis=1) > 0)
    assert not np.any(video == query[:, None])
    assert 0.2 < (query == -1).mean() < 0.3


def test_what_is_on_raises_the_wish_for_its_topics(world: World, day: list[Pages]) -> None:
    videos = world.videos
    query, video = gather(day, lambda p: p.requests.query), gather(day, lambda p: p.video)
    relevance = gather(day, lambda p: p.truth.relevance)
    same = (videos.topics[video, 0] == videos.topics[query, 0][:, None]) & (query >= 0)[:, None]

    assert relevance[same].mean() > relevance[~same].mean() + 0.1


def test_no_video_is_shown_before_its_upload_or_as_often_when_it_is_old() -> None:
    world = World(CONFIG.model_copy(update={"popularity_half_life_days": 1.0}), seed=3, days=2)
    pages = [world.pages(1, hour) for hour in range(24)]
    shown_ms = gather(pages, lambda p: p.requests.time_ms)[:, None]
    upload_ms = world.videos.upload_ms[gather(pages, lambda p: p.video)]

    assert np.all(upload_ms <= shown_ms)
    per_upload_day = np.bincount(((upload_ms - EPOCH_MS) // DAY_MS).ravel() + CONFIG.catalogue_days)
    assert len(per_upload_day) == CONFIG.catalogue_days + 2
    assert np.all(np.diff(per_upload_day[:-1]) > 0)
    assert per_upload_day[0] < 0.3 * per_upload_day[-2]


def test_an_hour_made_alone_equals_the_same_hour_in_sequence(world: World, day: list[Pages]) -> None:
    alone = World(CONFIG, seed=3, days=9).pages(0, 17)

    np.testing.assert_array_equal(alone.video, day[17].video)
    np.testing.assert_array_equal(alone.feedback.watch_time_s, day[17].feedback.watch_time_s)


def test_another_seed_is_another_world(world: World) -> None:
    other = World(CONFIG, seed=4, days=2)

    assert not np.array_equal(other.videos.quality, world.videos.quality)
    assert not np.array_equal(other.pages(0, 0).requests.time_ms, world.pages(0, 0).requests.time_ms)


def test_tastes_drift_with_the_days(world: World) -> None:
    everyone = np.arange(CONFIG.viewers)

    def taste(day: float) -> Any:
        return world.viewers.taste(everyone, np.full(CONFIG.viewers, day)).ravel()

    next_day, next_month = (np.corrcoef(taste(0), taste(day))[0, 1] for day in (1, 30))
    assert next_day > 0.97
    assert -0.2 < next_month < 0.8


def test_the_evening_is_busier_than_the_night_and_a_few_viewers_busier_than_most(
    world: World, day: list[Pages]
) -> None:
    per_hour = np.array([len(pages.requests.viewer) for pages in day])
    per_viewer = np.sort(np.bincount(gather(day, lambda p: p.requests.viewer), minlength=CONFIG.viewers))

    np.testing.assert_array_equal(per_hour, np.diff(world.request_edges()))
    assert per_hour.sum() == CONFIG.requests_per_day
    assert per_hour.argmax() == 20
    assert per_hour.max() > 5 * per_hour.min()
    assert per_viewer[-40:].sum() > 0.25 * per_viewer.sum()


def test_other_rankings_can_be_shown_to_the_same_viewers(world: World) -> None:
    requests = world.pages(1, 20).requests
    three = np.broadcast_to(np.arange(3), (len(requests.viewer), 3))

    truth = world.truth(requests, three)
    feedback = world.respond(np.random.default_rng(0), requests, truth)

    assert feedback.click.shape == three.shape
    np.testing.assert_array_equal(truth.examination[:, 0], 1.0)
    np.testing.assert_allclose(truth.click, truth.examination * truth.relevance)


def test_an_hour_without_requests_is_empty() -> None:
    config = CONFIG.model_copy(update={"requests_per_day": 3})
    world = World(config, seed=0, days=1)

    quiet = int(np.diff(world.request_edges()).argmin())
    assert world.pages(0, quiet).video.shape == (0, PAGE)
    assert sum(len(world.pages(0, hour).video) for hour in range(24)) == 3


def test_time_starts_with_the_epoch_and_never_goes_back(day: list[Pages]) -> None:
    time_ms = gather(day, lambda p: p.requests.time_ms)

    assert EPOCH_MS <= time_ms[0] < EPOCH_MS + HOUR_MS
    assert np.all(np.diff(time_ms) >= 0)


def test_a_catalogue_smaller_than_a_page_s_candidates_is_refused() -> None:
    with pytest.raises(
        ValidationError, match="expected at least candidates = 30 videos at the start, found 20"
    ):
        WorldConfig(uploads_per_day=10, catalogue_days=2)
