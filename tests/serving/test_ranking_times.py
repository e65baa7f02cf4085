"""How long the parts of a ranking request take, and may take."""

import asyncio
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest

from ranker.errors import DeadlinePassedError, EvictedError, StoreError
from serving.http.deadline import NO_DEADLINE, Arrival
from serving.http.metrics import Metrics
from serving.model.served_model import ServedModel
from serving.ranking import RankingService
from serving.requests import RankRequest
from tests.serving.metric_value import metric_value

PHASES = ["validate", "features", "queue", "model", "score"]


def request_for(*ids):
    return RankRequest.model_validate(
        {"user": {"id": "viewer"}, "candidates": [{"id": name} for name in ids]}
    )


class Clock:
    """The time, which goes on only when somebody works."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def test_an_evicted_request_books_its_first_attempt_as_waiting_and_both_fetches_as_features(
    bundle, monkeypatch
):
    clock, metrics, model = Clock(), Metrics(frozenset()), ServedModel(bundle, 1)
    asked, requests = [], []

    class SlowStore:
        async def read(self, users, user_id, videos, video_ids, *, within_s):
            clock.now_s += 10
            asked.append(set(video_ids))
            return None, {}, True

    class EvictingWorker:
        async def predict(self, model, request, deadline, place):
            requests.append(request)
            if len(requests) == 1:
                clock.now_s += 1
                raise EvictedError(1)
            clock.now_s += 5
            return np.full((2, 3), 0.5), 2.0

    monkeypatch.setattr("serving.ranking.perf_counter", clock)
    model.put_videos(["r1"], model.catalogue.layout.of_rows([{"video_id": "r1"}]))
    service = RankingService(SimpleNamespace(model=model), EvictingWorker(), SlowStore(), metrics)
    body = request_for("r1", "r2")
    asyncio.run(service.rank(body, Arrival("id", clock.now_s, NO_DEADLINE)))

    assert asked == [{"r2"}, {"r1", "r2"}]
    assert [set(request.fetched.asked_ids) for request in requests] == asked  # what was read again is used
    assert {
        name: metric_value(metrics, f'watchnext_phase_seconds_sum{{phase="{name}"}}') for name in PHASES
    } == {
        "validate": 0.0,
        "features": 20.0,
        "queue": 1.0 + 2.0,
        "model": 5.0 - 2.0,
        "score": 0.0,
    }


@pytest.fixture
def rank_within(bundle):
    """Rank with a deadline and a slow store; give the answer and how long the store might have taken."""

    def rank_within(timeout_s, store_s):
        class SlowStore:
            async def read(self, users, user_id, videos, video_ids, *, within_s):
                waits.append(within_s)
                if store_s > within_s:
                    await asyncio.sleep(within_s)
                    raise StoreError("late")
                await asyncio.sleep(store_s)
                return None, {}, True

        class Worker:
            async def predict(self, model, request, deadline, place):
                return np.full((1, 3), 0.5), 0.0

        waits = []
        models = SimpleNamespace(model=ServedModel(bundle, 1))
        service = RankingService(models, Worker(), SlowStore(), Metrics(frozenset()))
        now = time.perf_counter()
        body = request_for("r1")
        return asyncio.run(service.rank(body, Arrival("id", now, now + timeout_s))), waits

    return rank_within


def test_a_request_waits_for_the_store_as_long_as_leaves_time_to_rank(rank_within):
    answer, [wait_s] = rank_within(timeout_s=2.0, store_s=60.0)
    assert answer["degraded"] == ["feature_store"]
    assert 0 < wait_s < 1.5


def test_without_a_deadline_the_stores_own_limit_is_in_force(rank_within):
    answer, [wait_s] = rank_within(timeout_s=math.inf, store_s=0.0)
    assert answer["degraded"] == []
    assert wait_s == math.inf


def test_after_its_deadline_nothing_is_done_for_a_request(rank_within):
    with pytest.raises(DeadlinePassedError, match="late before its turn came"):
        rank_within(timeout_s=-0.001, store_s=0.0)
