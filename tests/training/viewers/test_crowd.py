from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranker.errors import FileError
from tests.training.viewers.fake_service import FakeService, fake_service
from training.service_client import ServiceClient
from training.sources.simulated.population import DAY_MS, PAGE, WorldConfig
from training.sources.simulated.world_file import WorldFile
from training.viewers.behaviour import Habits
from training.viewers.crowd import Crowd, CrowdConfig
from training.viewers.satisfaction import Satisfaction
from training.viewers.status import ViewerStatus
from training.viewers.visits import HORIZON_DAYS, Visits

SMALL = WorldConfig(
    viewers=50, authors=10, uploads_per_day=20, catalogue_days=3, requests_per_day=500, candidates=20
)
WORLD = WorldFile.ending_now(SMALL, seed=3, days=2, speed=1_440)


def live(service: FakeService, pages: int, **config: Any) -> ViewerStatus:
    """Let viewers ask for so many pages, and leave."""
    crowd = Crowd(
        CrowdConfig(WORLD, **{"rate": 400, "habits": Habits(answer_s=0.01)} | config),
        lambda: ServiceClient(service.url),
    )
    reports: list[ViewerStatus] = []
    crowd.run(lambda: crowd.status().pages >= pages, reports.append, every_s=0.05)
    return reports[-1]


def test_viewers_answer_what_they_are_shown_and_everything_is_counted() -> None:
    with fake_service() as service:
        status = live(service, 100)

    assert status.pages == len(service.ranked) >= 100
    assert status.videos == status.pages * PAGE
    assert status.sent == len(service.events) > 100
    assert (status.unanswered, status.rejected, status.waiting) == (0, 0, 0)
    for event in service.events:
        shown = [video["id"] for video in service.ranked[event["request_id"]]["candidates"][:PAGE]]
        assert event["video_id"] in shown
    clicks = sum(event["kind"] == "click" for event in service.events)
    assert status.shown is not None
    assert abs(clicks / status.pages - status.shown.clicks) < 0.4


def test_an_app_that_explores_says_what_it_has_shown() -> None:
    with fake_service() as service:
        status = live(service, 50, habits=Habits(answer_s=0.01, explore=0.5))

    shown: dict[str, dict[int, str]] = {}
    for event in service.events:
        if event["kind"] == "shown":
            shown.setdefault(event["request_id"], {})[event["value"]] = event["video_id"]
    assert shown.keys() == service.ranked.keys()
    ranked = {name: [video["id"] for video in body["candidates"]] for name, body in service.ranked.items()}
    assert all(sorted(page) == list(range(1, PAGE + 1)) for page in shown.values())
    assert all(set(page.values()) <= set(ranked[name]) for name, page in shown.items())
    assert any(list(page.values()) != ranked[name][:PAGE] for name, page in shown.items())
    assert status.videos == PAGE * status.pages
    assert all(event["video_id"] in shown[event["request_id"]].values() for event in service.events)


def test_the_same_seed_makes_the_same_visits_whatever_the_concurrency() -> None:
    with fake_service() as one:
        live(one, 50, concurrency=1)
    with fake_service() as other:
        live(other, 50, concurrency=6)
    asked = [{str(body) for body in service.ranked.values()} for service in (one, other)]
    assert len(asked[0] & asked[1]) >= 50
    with fake_service() as third:
        live(third, 50, seed=1)
    assert not asked[0] & {str(body) for body in third.ranked.values()}


def test_time_goes_on_where_it_was_and_so_do_counts(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert ViewerStatus.read(path) is None
    with fake_service() as service:
        first = live(service, 20)
        first.write(path)
        second = live(service, first.pages + 20, begin=ViewerStatus.read(path))

    assert second.pages == len(service.ranked)
    assert second.sent == len(service.events)
    a_visit_ms = round(1000 * 1_440 / 400)
    assert second.world_ms == WORLD.world_end_ms + second.visits * a_visit_ms
    path.write_text("{}")
    with pytest.raises(FileError, match="expected the viewers' state, found"):
        ViewerStatus.read(path)


def test_new_videos_are_told_once_they_are_uploaded() -> None:
    later = ViewerStatus(world_ms=WORLD.world_end_ms + 2 * DAY_MS)
    with fake_service() as service:
        crowd = Crowd(CrowdConfig(WORLD, rate=1, begin=later), lambda: ServiceClient(service.url))
        crowd.run(lambda: len(service.videos) >= 40, lambda _: None)

    before = SMALL.uploads_per_day * (SMALL.catalogue_days + WORLD.days)
    assert [video["id"] for video in service.videos[:40]] == [str(before + n) for n in range(40)]
    assert set(service.videos[0]["features"]) == {"author_id", "topics", "duration_s"}


def test_viewers_ask_again_when_the_service_is_back(caplog: pytest.LogCaptureFixture) -> None:
    with fake_service() as service:
        service.away = 3
        status = live(service, 20)

    assert 0 < status.unanswered <= 3  # a video's upload may be one of the calls
    assert status.pages >= 20
    assert [record.message for record in caplog.records if "viewers ask again" in record.message] != []


def test_a_world_may_live_longer_than_was_drawn() -> None:
    visits = Visits(WORLD)
    beyond = WORLD.world_end_ms + (HORIZON_DAYS + 10) * DAY_MS

    late = visits.visit(7, beyond)
    again = visits.visit(8, WORLD.world_end_ms)

    first = Visits(WORLD).visit(8, WORLD.world_end_ms)
    assert again.body == first.body
    age_days = (beyond - late.world.videos.upload_ms[late.candidates]) / DAY_MS
    assert 0 <= age_days.min() <= age_days.max() <= 61


def test_satisfaction_counts_what_is_looked_at() -> None:
    visit = Visits(WORLD).visit(1, WORLD.world_end_ms)
    ratings = visit.truth(visit.candidates[:, :PAGE]).rating
    best = visit.candidates[:, np.argsort(-ratings[0])]
    worst = best[:, ::-1]

    assert Satisfaction.of(visit.truth(best)).stars > Satisfaction.of(visit.truth(worst)).stars
    only = best[:, :1]
    assert Satisfaction.of(visit.truth(only)).stars == pytest.approx(ratings.max())
